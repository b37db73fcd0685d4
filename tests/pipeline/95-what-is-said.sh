#!/bin/bash
# Goal: what the tools say about a run at each level, and what the documents say about the tests: every
# test that they name is there, every invariant is in the list of promises.
. "$(dirname "$0")/../support/lib.sh"

top=$support/../..
mktree --only small "$T/tree"
zl-pack "$T/tree" >"$T/layer"

say "-v: how it began and how it ended; JSON lines have the same, as fields"
expect_exit 0 zl-push -v --name web1 <"$T/layer"
head -1 "$ERR" | grep -qE '^zl-push: version [0-9.]+$' || fail "$(cat "$ERR")"
tail -1 "$ERR" | grep -qE '^zl-push: exit 0 after [0-9.]+ ?m?s$' || fail "$(cat "$ERR")"
expect_exit 65 zl-push -v --name web1 < <(head -c 3000 "$T/layer")
tail -1 "$ERR" | grep -qE '^zl-push: exit 65 after ' || fail "$(cat "$ERR")"
expect_exit 0 zl-push -q -v --name web1 <"$T/layer"
expect_empty "$ERR"
expect_exit 0 zl-push -v --log-format json --name web1 <"$T/layer"
jq -es '(.[0].event == "started") and (.[-1].event == "ended" and .[-1].exit == 0 and .[-1].seconds >= 0)
    and all(has("ts") and has("level") and .tool == "zl-push" and has("msg"))' "$ERR" >/dev/null ||
    fail "$(cat "$ERR")"
expect_exit 0 zl-push --log-format json --name web1 <"$T/layer"
expect_empty "$ERR"

say "tests that documents name are there"
# `pipeline/06-console`, and after it `26-configuration` of the same directory, or unit `store/x`.
python3 - "$top" <<'PY'
import os, re, sys
top = sys.argv[1]
missing, named = [], 0
def there(area, name):
    return os.path.exists('%s/tests/%s/%s.sh' % (top, area, name))
with open(top + '/tests/README.md', encoding='utf8') as f:
    rows = [line for line in f if line.startswith('| ')]
for row in rows:
    area = 'pipeline'
    for word in re.findall(r'`([^`]+)`', row.rsplit('|', 2)[1]):
        match = re.fullmatch(r'(?:(pipeline|s3)/)?(\d\d-[a-z0-9-]+)', word)
        if match:
            area = match.group(1) or area
            named += 1
            if not there(area, match.group(2)):
                missing.append(word)
with open(top + '/man/zl-guarantees.7.scd', encoding='utf8') as f:
    page = f.read()
for area, name in re.findall(r'_(pipeline|s3)/([a-z0-9-]+)_', page):
    named += 1
    if not there(area, name):
        missing.append('%s/%s' % (area, name))
with open(top + '/lib/README.md', encoding='utf8') as f:
    invariants = set(re.findall(r'^\| ([IWP]\d+) \|', f.read(), re.M))
assert len(invariants) >= 20 and named >= 100, (len(invariants), named)
promised = set(re.findall(r'\b([IWP]\d+)\b', re.sub(r'I1 to I11, W1 to W9, P1 to P6', '', page)))
assert not missing, 'no such test: ' + ', '.join(missing)
assert promised == invariants, 'invariants in one place only: %s' % (promised ^ invariants)
PY
for recipe in "$top"/recipes/iam/*.json; do jq -e .Statement "$recipe" >/dev/null; done
# The rights in a manual are those of its recipe.
for tool in push pull walship restore ls prune; do
    grep -oE '\*s3:[A-Za-z]+\*' "$top/man/zl-$tool.1.scd" | tr -d '*' | sort -u >"$T/said"
    jq -r '.Statement[].Action[]' "$top/recipes/iam/$tool.json" | sort -u >"$T/given"
    diff "$T/said" "$T/given" || fail "zl-$tool: rights in its manual (<) and its recipe (>)"
done
