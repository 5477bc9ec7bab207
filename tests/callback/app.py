"""An application that courier asks: HTTP/1.1 with keep-alive, over TCP or a Unix socket, standard library only.

What it answers stands in the cookie `do` of the client, so that one application serves every test. Each question is
printed as a line of JSON, with the number of its connection.
"""

import asyncio
import json
import os
import sys
import time


def say(**line):
    print(json.dumps(line), flush=True)


def whole(status, body, fields=""):
    body = body.encode()
    return f"HTTP/1.1 {status} X\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer(todo, body, reader):
    """The answer's bytes, and whether the connection goes on."""
    grant = {"channels": body["channels"], "user": body["cookies"].get("user")}
    if "lasts" in body["cookies"]:
        grant["expires"] = time.time() + float(body["cookies"]["lasts"])
    if "cache" in body["cookies"]:
        grant["cache"] = float(body["cookies"]["cache"])
    granted = json.dumps(grant)
    match todo:
        case "grant":
            return whole(200, granted), True
        case "first":
            return whole(200, json.dumps({"channels": body["channels"][:1]})), True
        case "401" | "403" | "404" | "500" | "503":
            return whole(todo, "<h1>why</h1>"), True
        case "redirect":
            return whole(302, "", "Location: /elsewhere\r\n"), True
        case "close":
            return whole(200, granted, "Connection: close\r\n"), False
        case "chunks":
            pieces = [granted[at : at + 5].encode() for at in range(0, len(granted), 5)]
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n", True
        case "until-close":
            return b"HTTP/1.0 200 OK\r\n\r\n" + granted.encode(), False
        case "huge":
            return whole(200, "x" * 100_000), True
        case "garbage":
            return b"SSH-2.0-OpenSSH_9.0\r\n\r\n", True
        case "cut":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", False
        case "slow":
            await asyncio.sleep(0.2)
            return whole(200, granted), True
        case "never":
            await reader.read()  # Until courier closes.
            return b"", False


async def serve(reader, writer):
    serve.connections += 1
    connection = serve.connections
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.strip().split("\r\n")
            fields = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
            text = await reader.readexactly(int(fields["content-length"]))
            body = json.loads(text)
            say(question=line, connection=connection, fields=fields, body=body, text=text.decode())
            todo = body["cookies"].get("do", "grant")
            reply, goes_on = await answer(todo, body, reader)
            writer.write(reply)
            await writer.drain()
            if not goes_on or body["cookies"].get("then") == "close":
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    say(closed=connection)
    writer.close()


serve.connections = 0


async def main(place):
    if place.startswith("/"):
        if os.path.exists(place):
            os.remove(place)
        server = await asyncio.start_unix_server(serve, place, backlog=1_000)
        say(listening=place)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", int(place), backlog=1_000)
        say(listening=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main(sys.argv[1]))
