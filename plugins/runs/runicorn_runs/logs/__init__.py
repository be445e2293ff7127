"""Live logs: `logs.txt` of a run over a WebSocket.

lines.py      bytes → frames                         tail.py     where the last n lines of a file begin
file.py       one opened log file; what a path names follow.py   one client's way through the files of one path
watch.py      one look at each followed file per tick, for all clients
stream.py     what a client gets, and when it ends   websocket.py   a socket as a client
"""
