#!/usr/bin/env bash
# What to try once `make up` runs: scripts/next-steps.sh LISTEN DATA_DIR
cat <<TEXT

The control plane listens on $1 and keeps its state in $2.
Its own agent is called "local". In another terminal, in this folder:

  export PATH=\$PWD/target/debug:\$PATH TURBOPANEL_URL=http://$1 TURBOPANEL_DATA_DIR=$2
  turbopanel agents                       the agents
  turbopanel ps local                     the containers of this machine
  turbopanel exec local -- uname -a       a command on this machine
  turbopanel token create web-2           what to run on a second server

Ctrl-C here stops it.

TEXT
