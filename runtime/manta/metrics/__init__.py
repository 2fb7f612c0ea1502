"""Numbers for Prometheus: a histogram, what the kernel says of processes, the text format, and the HTTP door they leave by.

What lives here is the same for every server. What a server has to tell is its own (`raylet.metrics`,
`control.metrics`): it reads its state when it is asked, so that nothing is counted where work is done but what nobody could tell
afterwards.
"""
