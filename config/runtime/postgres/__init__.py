"""The embedded PostgreSQL: started by the first process that needs it, stopped after the last.

Four locks (flock, so that a killed process gives its own up) in HEADRACE_HOME/postgres make it safe:

clients.lock  shared by every process that uses the server; the keeper stops it once nobody does
start.lock    held while a process looks whether the server runs, and starts it
keeper.lock   held by the keeper, the small process that started the server and will stop it
server.lock   inherited by the server's processes: free means that none lives, whatever a pid file says
"""
