#!/usr/bin/env python3
"""faultproxy.py LISTEN_PORT TARGET_PORT CONTROL_PORT     (all on 127.0.0.1; standard library only)

Stands between an S3 client and a server, injects faults and counts every byte. Requests go through
untouched, Host header included, so that their signatures stay valid: put the proxy's port into the
endpoint URL. Port 0 picks a free one; the first line on stdout is "READY LISTEN_PORT CONTROL_PORT".

Control, on http://127.0.0.1:CONTROL_PORT
  PUT /rules     a JSON list of rules, replaces all     GET /rules    what is left of them
  DELETE /rules  drops the rules, keeps the log         DELETE /log   empties the log
  GET /log       a JSON list, one object per request    GET /held     {"now": N, "ever": N}
  PUT /release   held requests go on                    PUT /drop     cuts held requests off (RST)
  PUT /target/N  new connections go to port N

A rule fires on the first request that it matches; earlier rules win.
  method, path        METHOD and a regular expression on path?query (both optional)
  header, not_header  {"name": "regex"}: all must, none may be found in the header of that name
  skip, count         let SKIP matches pass, then fire COUNT times (default 1; -1 = for ever)
  prob                fire with this probability
  action              one of
    reset_before            RST before anything is forwarded
    reset_after_req_bytes   forward "bytes" of the request body, then RST both sides
    lose_response           the server gets all and answers; the client gets an RST
    truncate_response       "bytes" of the response body, then close ("rst": true for an RST)
    stall                   forward the request, answer nothing for "seconds", then RST
    stall_response          "bytes" of the response body, nothing for "seconds", then RST
    status                  answer "status" (503) and S3 error "code" (SlowDown), not forwarded;
                            options "retry_after", "headers" {}, "xml" (inside <Error>), "body"
                            (instead of the XML), "early" (without reading the request body)
    error_in_200            200 with an <Error> body, not forwarded
    corrupt_request, corrupt_response   flip one bit in body byte "bytes"
    latency                 sleep "seconds" before forwarding
    throttle                both bodies at "bps" bytes/s; "shared": true: all connections together
    hold                    stop until /release or /drop; "when": "before" anything is forwarded,
                            "mid" (after "bytes" of the request body), "after" the server answered

A log entry: t, method, path, action, status (as the client saw it; null = none), req (body bytes
read from the client), fwd (passed to the server), resp (passed to the client), done (answered in
full), t_end, headers (of the request, lower case, the signature cut off)."""
import asyncio
import json
import random
import re
import socket
import struct
import sys
import time

rules, log, held = [], [], []
counts = {'ever': 0}
target = [0]
CHUNK = 262144


def rst(w):
    s = w.get_extra_info('socket')
    try:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except (OSError, AttributeError):
        pass
    w.transport.abort()


async def read_head(r):
    raw = await r.readuntil(b'\r\n\r\n')
    lines = raw.decode('latin1').split('\r\n')
    h = {}
    for x in lines[1:]:
        if ':' in x:
            k, v = x.split(':', 1)
            h[k.lower().strip()] = v.strip()
    return raw, lines[0], h


async def read_body(r, h, is_response=False, empty=False):
    """Yields (raw bytes, payload bytes in them); the raw bytes include chunked framing."""
    if empty:
        return
    if 'chunked' in h.get('transfer-encoding', '').lower():
        while True:
            line = await r.readline()
            n = int(line.split(b';')[0], 16)
            yield line, 0
            if n == 0:
                while True:
                    t = await r.readline()
                    yield t, 0
                    if t in (b'\r\n', b''):
                        return
            while n:
                c = await r.read(min(n, CHUNK))
                if not c:
                    raise ConnectionError
                n -= len(c)
                yield c, len(c)
            yield await r.readexactly(2), 0
    elif 'content-length' in h:
        n = int(h['content-length'])
        while n:
            c = await r.read(min(n, CHUNK))
            if not c:
                raise ConnectionError
            n -= len(c)
            yield c, len(c)
    elif is_response:
        while True:
            c = await r.read(CHUNK)
            if not c:
                return
            yield c, len(c)


def match(method, path, h):
    for x in rules:
        if x.get('method') not in (None, method) or x.get('count', 1) == 0:
            continue
        if not re.search(x.get('path', ''), path):
            continue
        if any(not re.search(v, h.get(k.lower(), '')) for k, v in x.get('header', {}).items()):
            continue
        if any(re.search(v, h.get(k.lower(), '')) for k, v in x.get('not_header', {}).items()):
            continue
        if x.get('skip', 0) > 0:
            x['skip'] -= 1
            continue
        if random.random() >= x.get('prob', 1.0):
            continue
        x['count'] = x.get('count', 1) - 1
        return x
    return {}


def flip(c, pos, at):
    if pos <= at < pos + len(c):
        c = bytearray(c)
        c[at - pos] ^= 1
        c = bytes(c)
    return c


async def pace(rule, n):
    """Sleep as long as N more bytes may take under a throttle rule."""
    if rule.get('action') != 'throttle':
        return
    bps = rule['bps']
    if not rule.get('shared'):
        await asyncio.sleep(n / bps)
        return
    now = time.monotonic()
    rule['_free'] = max(rule.get('_free', now), now) + n / bps
    await asyncio.sleep(rule['_free'] - now)


async def hold():
    """Wait for /release (True) or /drop (False)."""
    f = asyncio.get_running_loop().create_future()
    held.append(f)
    counts['ever'] += 1
    try:
        return await f
    finally:
        if f in held:
            held.remove(f)


def error_response(x, method, close):
    status = 200 if x['action'] == 'error_in_200' else x.get('status', 503)
    code = x.get('code', 'InternalError' if status == 200 else 'SlowDown')
    if 'body' in x:
        b = x['body'].encode()
    else:
        b = ('<?xml version="1.0" encoding="UTF-8"?>\n'
             '<Error><Code>%s</Code><Message>injected</Message>%s'
             '<RequestId>fault</RequestId></Error>' % (code, x.get('xml', ''))).encode()
    if method == 'HEAD':
        b = b''
    h = {'Content-Type': 'application/xml', 'Content-Length': str(len(b)),
         'Date': time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}
    if 'retry_after' in x:
        h['Retry-After'] = str(x['retry_after'])
    if close:
        h['Connection'] = 'close'
    h.update(x.get('headers', {}))
    head = 'HTTP/1.1 %d X\r\n' % status + ''.join('%s: %s\r\n' % kv for kv in h.items())
    return status, b, (head + '\r\n').encode() + b


async def one_request(cr, cw, server):
    """Serve one request; returns False when the connection is done with."""
    try:
        raw, line, h = await read_head(cr)
    except asyncio.IncompleteReadError:
        return False
    method, path = line.split(' ')[:2]
    x = match(method, path, h)
    act, nth = x.get('action'), x.get('bytes', 0)
    auth = h.get('authorization', '')
    e = {'t': time.time(), 'method': method, 'path': path, 'action': act, 'status': None,
         'req': 0, 'fwd': 0, 'resp': 0,
         'done': False, 't_end': None,
         'headers': dict(h, **({'authorization': auth.split('Signature=')[0]} if auth else {}))}
    log.append(e)
    try:
        expect = h.get('expect', '').lower() == '100-continue'
        if act == 'latency':
            await asyncio.sleep(x.get('seconds', 1))
        if act == 'hold' and x.get('when', 'before') == 'before' and not await hold():
            return rst(cw)
        if act == 'reset_before':
            return rst(cw)
        if act in ('status', 'error_in_200'):
            if not x.get('early'):
                if expect:
                    cw.write(b'HTTP/1.1 100 Continue\r\n\r\n')
                async for c, n in read_body(cr, h):
                    e['req'] += n
            status, b, out = error_response(x, method, x.get('early'))
            cw.write(out)
            await cw.drain()
            e.update(status=status, resp=len(b), done=True)
            return not x.get('early')
        if server[1] is None or server[1].is_closing():
            server[:] = await asyncio.open_connection('127.0.0.1', target[0], limit=1 << 20)
        sr, sw = server
        sw.write(raw)
        early = None
        if expect:
            rhead = await read_head(sr)
            if ' 100' in rhead[1][:12]:
                cw.write(rhead[0])
                await cw.drain()
            else:
                early = rhead
        if early is None:
            async for c, n in read_body(cr, h):
                if n:
                    e['req'] += n
                    if act == 'corrupt_request':
                        c = flip(c, e['fwd'], nth)
                    if act == 'reset_after_req_bytes' and e['fwd'] + n >= nth:
                        sw.write(c[:max(0, nth - e['fwd'])])
                        await sw.drain()
                        rst(sw)
                        return rst(cw)
                    if (act == 'hold' and x.get('when') == 'mid' and e['fwd'] + n >= nth
                            and not x.get('_held')):
                        x['_held'] = True
                        if not await hold():
                            rst(sw)
                            return rst(cw)
                    e['fwd'] += n
                sw.write(c)
                await sw.drain()
                await pace(x, n)
        if act == 'stall':
            await asyncio.sleep(x.get('seconds', 30))
            return rst(cw)
        rraw, rline, rh = early or await read_head(sr)
        while ' 100 ' in rline[:13] and early is None:
            rraw, rline, rh = await read_head(sr)
        status = int(rline.split(' ')[1])
        empty = method == 'HEAD' or status in (204, 304)
        if act == 'lose_response' or (act == 'hold' and x.get('when') == 'after'):
            body = b''.join([c async for c, n in read_body(sr, rh, True, empty)])
            if act == 'lose_response' or not await hold():
                return rst(cw)
            cw.write(rraw + body)
            await cw.drain()
            e.update(status=status, resp=len(body), done=True)
            return True
        cw.write(rraw)
        e['status'] = status
        if act in ('truncate_response', 'stall_response'):
            await cw.drain()
        async for c, n in read_body(sr, rh, True, empty):
            if act == 'corrupt_response' and n:
                c = flip(c, e['resp'], nth)
            if act in ('truncate_response', 'stall_response') and e['resp'] + n >= nth:
                cw.write(c[:max(0, nth - e['resp'])])
                await cw.drain()
                e['resp'] = nth
                if act == 'stall_response':
                    await asyncio.sleep(x.get('seconds', 30))
                    return rst(cw)
                await asyncio.sleep(.05)
                return rst(cw) if x.get('rst') else False
            cw.write(c)
            await cw.drain()
            e['resp'] += n
            await pace(x, n)
        await cw.drain()
        e['done'] = True
        connection = rh.get('connection', '') + h.get('connection', '')
        return not ('close' in connection.lower() or early)
    finally:
        e['t_end'] = time.time()


async def client(cr, cw):
    server = [None, None]
    try:
        while await one_request(cr, cw, server):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, OSError, ValueError):
        rst(cw)
    finally:
        for w in (cw, server[1]):
            if w and not w.is_closing():
                w.close()


async def control(r, w):
    try:
        _, line, h = await read_head(r)
        b = b''.join([c async for c, n in read_body(r, h)])
        method, path = line.split(' ')[:2]
        out = {}
        if path == '/rules' and method == 'PUT':
            rules[:] = json.loads(b)
            counts['ever'] = 0
        elif path == '/rules' and method == 'DELETE':
            rules.clear()
        elif path == '/log' and method == 'DELETE':
            log.clear()
        elif path in ('/release', '/drop'):
            for f in list(held):
                if not f.done():
                    f.set_result(path == '/release')
        elif path.startswith('/target/'):
            target[0] = int(path.split('/')[2])
        elif path == '/held':
            out = {'now': len(held), 'ever': counts['ever']}
        elif path == '/log':
            out = log
        else:
            out = [{k: v for k, v in x.items() if not k.startswith('_')} for x in rules]
        o = json.dumps(out).encode()
        w.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n' % len(o) + o)
        await w.drain()
    except (ConnectionError, asyncio.IncompleteReadError, OSError):
        pass
    finally:
        w.close()


async def main():
    listen, target[0], ctl = map(int, sys.argv[1:4])
    a = await asyncio.start_server(client, '127.0.0.1', listen, limit=1 << 20)
    b = await asyncio.start_server(control, '127.0.0.1', ctl)
    print('READY', a.sockets[0].getsockname()[1], b.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main())
