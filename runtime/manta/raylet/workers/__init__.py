"""Worker processes: started through factories, watched by pidfd, ended with all they started.

`process.py` is what we ask the kernel, `factory.py` one factory as the raylet sees it, `pool.py` all factories and workers of
the node. Which worker is started or ended, and when, is decided in `scheduler.py`.
"""
