"""Submitted jobs: a shell command on the head, run under a supervisor process of its own.

`states` says what a job is from what is written of it, `records` writes that into control's key-value store, `packages` takes
uploads and unpacks them, `supervisor` is the process, `groups` knows the processes of an entrypoint again, `manager` starts and
watches supervisors (in the dashboard's process), `feed` tells those who follow jobs, `client` speaks to the routes, which are
`dashboard.jobs`. Control's own table of jobs is about drivers: a submitted job may have none, or several.
"""
