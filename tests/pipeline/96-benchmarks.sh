#!/bin/bash
# Goal: the benchmark of replication runs, finds each commit in the store, and its report can be looked at.
# Nothing here is about how fast it was.
. "$(dirname "$0")/../support/lib.sh"
bench=$support/../bench
expect_exit 0 python3 "$bench/bench.py" --help
expect_exit 0 env -u ZL_STATE_DIR python3 "$bench/wal_bench.py" --bin "$ZL_BIN" --dir "$T" --litestream '' \
    --quick --seconds 1 --rates 20 --html "$T/report.html" lag
cat "$OUT"
python3 - "$T/report.html" "$OUT" <<'END'
import re, sys, xml.etree.ElementTree as xml
page = open(sys.argv[1], encoding='utf-8').read()
body = xml.fromstring(re.search(r'<body>.*</body>', page, re.S).group().replace('&nbsp;', ' '))
rows = [[cell.text or '' for cell in row] for row in body.iter('tr')]
names = [row[0] for row in rows]
assert names == ['', 'no shipper', 'zl 0s', 'zl 1s'], names
text = open(sys.argv[2]).read()
for row in rows[2:]:
    missing = row[rows[0].index('not seen')]
    assert int(row[1]) > 5 and missing == '0', row
    assert row[2] in text, (row, text) # the page says what the terminal says
curves = [p for p in body.iter('path') if p.get('stroke-width')]
assert len(curves) == 2 and all(p.get('d').count('L') > 10 for p in curves), curves
assert 'http' not in page, 'it needs something from elsewhere'
END
