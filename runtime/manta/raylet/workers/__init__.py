"""Worker processes: started through factories, watched by pidfd, ended with all they started.

`process.py` is what we ask the kernel, `guard.py` stands between the raylet and what it starts and outlives it by a moment,
`launch.py` starts a factory, `factory.py` is one as the raylet sees it, `pool.py` all of them and their workers. Which worker is
started or ended, and when, is decided in `scheduler.py`.
"""
