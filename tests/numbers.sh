#!/usr/bin/env bash
# Measures what the README says of speed and size, on this machine: `tests/numbers.sh [local] [compose] [build]`
# (all three by default; `compose` needs a container engine, `build` compiles everything anew). Linux only: it reads
# /proc.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- local compose build

seconds() { awk -v from="$1" -v to="$(date +%s.%N)" 'BEGIN { printf "%.1f s", to - from }'; }

# CPU time that a process has used, in clock ticks.
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

local_() {
  cargo build --release --quiet
  local out; out=$(mktemp)
  local crosstalk=target/release/crosstalk
  for _ in 1 2 3 4 5; do
    "$crosstalk" up --no-tour --port-base 0 >"$out" 2>/dev/null &
    local cluster=$!
    until grep -q 'stays up' "$out"; do sleep 0.05; done
    grep -o 'all ready .* after the start' "$out"
    kill "$cluster"; wait "$cluster"
  done
  local began; began=$(date +%s.%N)
  "$crosstalk" tour --port-base 0 >/dev/null 2>&1
  echo "tour, from start to exit: $(seconds "$began")"
  "$crosstalk" up --no-tour --port-base 0 >"$out" 2>/dev/null &
  local cluster=$!
  until grep -q 'stays up' "$out"; do sleep 0.05; done
  sleep 2 # what follows is about idle nodes
  local names pids; names=($(awk '$3 == "process" { print $1 }' "$out")); pids=($(awk '$3 == "process" { print $4 }' "$out"))
  local before=(); for pid in "${pids[@]}"; do before+=("$(ticks "$pid")"); done
  sleep 20
  local i; for i in "${!pids[@]}"; do
    local rss used; rss=$(awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/${pids[$i]}/status")
    used=$(awk -v ticks=$(($(ticks "${pids[$i]}") - before[i])) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", ticks / hz / 20 * 100 }')
    echo "${names[$i]}: $rss MiB resident, $used % of a core, idle for 20 s"
  done
  kill "$cluster"; wait "$cluster"
  rm "$out"
}

compose() {
  docker compose build --quiet
  for program in broker producer consumer poller streamer crosstalk; do
    echo "image crosstalk/$program: $(docker image inspect --format '{{.Size}}' "crosstalk/$program" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
  done
  local project="crosstalk-numbers-$$"
  # shellcheck disable=SC2064 # expanded now on purpose
  trap "docker compose --project-name $project down --volumes --timeout 3 >/dev/null 2>&1" EXIT
  docker compose --project-name "$project" up --detach --wait rabbitmq broker producer consumer poller streamer >/dev/null 2>&1
  local format='{{range .State.Health.Log}}{{if eq .ExitCode 0}}{{.End.UnixNano}} {{end}}{{end}}'
  local rabbitmq; rabbitmq=$(docker inspect --format "$format" "$project-rabbitmq-1" | awk '{ print $1 }')
  for node in broker producer consumer poller streamer; do
    docker inspect --format "$format" "$project-$node-1" |
      awk -v node=$node -v rabbitmq="$rabbitmq" '{ printf "%s: healthy %.2f s after RabbitMQ\n", node, ($1 - rabbitmq) / 1e9 }'
  done
}

build() {
  local target; target=$(mktemp -d)
  local began; began=$(date +%s.%N)
  CARGO_TARGET_DIR=$target cargo build --release --quiet
  echo "cargo build --release, from nothing, $(nproc) cores: $(seconds "$began")"
  rm -rf "$target"
}

for part in "$@"; do
  case $part in
    local) local_ ;;
    compose) compose ;;
    build) build ;;
    *) echo "unknown part $part; known are local, compose, build" >&2; exit 2 ;;
  esac
done
