#!/bin/bash
# Goal: tests/pipeline/45-walship-owners.sh on a real S3 server, with its conditional writes and as if it had
# none: then a second writer is detected instead of prevented.
. "$(dirname "$0")/../support/lib.sh"
use_s3
OWNERS_STORES="$ZL_STORE $ZL_STORE&conditional=off"
export OWNERS_STORES
. "$(dirname "$0")/../pipeline/45-walship-owners.sh"
