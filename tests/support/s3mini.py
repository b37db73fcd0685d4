#!/usr/bin/env python3
"""s3mini.py COMMAND ...   -- looks at an S3 store from outside: signed requests, nothing retried

  make-bucket BUCKET            list BUCKET [PREFIX]       keys and sizes, one a line
  get BUCKET KEY [FILE]         put BUCKET KEY FILE        delete BUCKET KEY
  head BUCKET KEY               uploads BUCKET [PREFIX]    multipart uploads under way
  put-policy BUCKET FILE        the bucket's policy
  empty BUCKET [PREFIX]         deletes the objects and aborts the uploads

The server comes from ZL_TEST_ENDPOINT, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Shares no
code with the tools under test."""
import datetime
import hashlib
import hmac
import http.client
import os
import sys
import urllib.parse
import xml.etree.ElementTree as ET

REGION = 'us-east-1'


def call(method, path, query=None, headers=None, body=b''):
    """One request; returns (status, headers in lower case, body)."""
    url = urllib.parse.urlparse(os.environ['ZL_TEST_ENDPOINT'])
    key_id, secret = os.environ['AWS_ACCESS_KEY_ID'], os.environ['AWS_SECRET_ACCESS_KEY']
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%SZ')
    payload = hashlib.sha256(body).hexdigest()
    sent = {k.lower(): v for k, v in (headers or {}).items()}
    sent.update({'host': url.netloc, 'x-amz-date': stamp, 'x-amz-content-sha256': payload})
    quoted = urllib.parse.quote(path, safe='/-_.~')
    pairs = '&'.join('%s=%s' % (k, urllib.parse.quote(v, safe='-_.~'))
                     for k, v in sorted((query or {}).items()))
    names = ';'.join(sorted(sent))
    canonical = '\n'.join([method, quoted, pairs,
                           ''.join('%s:%s\n' % (k, sent[k]) for k in sorted(sent)), names, payload])
    scope = '%s/%s/s3/aws4_request' % (stamp[:8], REGION)
    text = '\n'.join(['AWS4-HMAC-SHA256', stamp, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = ('AWS4' + secret).encode()
    for word in (stamp[:8], REGION, 's3', 'aws4_request'):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    sent['authorization'] = ('AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s'
                             % (key_id, scope, names, signature))
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
    try:
        connection.request(method, quoted + ('?' + pairs if pairs else ''),
                           body=body if body or method in ('PUT', 'POST') else None, headers=sent)
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def need(wanted, reply):
    if reply[0] not in wanted:
        sys.exit('s3mini: HTTP %d: %s' % (reply[0], reply[2][:400].decode('utf8', 'replace')))
    return reply


def parse(reply):
    root = ET.fromstring(reply[2])
    for element in root.iter():
        element.tag = element.tag.rpartition('}')[2]
    return root


def objects(bucket, prefix=''):
    query = {'list-type': '2', 'prefix': prefix}
    while True:
        root = parse(need([200], call('GET', '/' + bucket, query)))
        for item in root.findall('Contents'):
            yield item.findtext('Key'), int(item.findtext('Size'))
        if root.findtext('IsTruncated') != 'true':
            return
        query['continuation-token'] = root.findtext('NextContinuationToken')


def uploads(bucket, prefix=''):
    query = {'uploads': '', 'prefix': prefix}
    while True:
        root = parse(need([200], call('GET', '/' + bucket, query)))
        for item in root.findall('Upload'):
            yield item.findtext('Key'), item.findtext('UploadId')
        if root.findtext('IsTruncated') != 'true':
            return
        query['key-marker'] = root.findtext('NextKeyMarker')
        query['upload-id-marker'] = root.findtext('NextUploadIdMarker')


def main(args):
    command, bucket = args[0], args[1]
    rest = args[2:]
    path = '/%s/%s' % (bucket, rest[0]) if rest else '/' + bucket
    if command == 'make-bucket':
        need([200, 409], call('PUT', '/' + bucket))
    elif command == 'list':
        for key, size in objects(bucket, *rest):
            print(size, key)
    elif command == 'uploads':
        for key, upload in uploads(bucket, *rest):
            print(upload, key)
    elif command == 'get':
        data = need([200], call('GET', path))[2]
        if len(rest) > 1:
            with open(rest[1], 'wb') as f:
                f.write(data)
        else:
            sys.stdout.buffer.write(data)
    elif command == 'put':
        with open(rest[1], 'rb') as f:
            need([200], call('PUT', path, body=f.read()))
    elif command == 'put-policy':
        with open(rest[0], 'rb') as f:
            need([200, 204], call('PUT', '/' + bucket, {'policy': ''}, body=f.read()))
    elif command == 'head':
        for name, value in sorted(need([200], call('HEAD', path))[1].items()):
            print('%s: %s' % (name, value))
    elif command == 'delete':
        need([204], call('DELETE', path))
    elif command == 'empty':
        for key, _ in list(objects(bucket, *rest)):
            need([204], call('DELETE', '/%s/%s' % (bucket, key)))
        for key, upload in list(uploads(bucket, *rest)):
            need([204, 404], call('DELETE', '/%s/%s' % (bucket, key), {'uploadId': upload}))
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:])
