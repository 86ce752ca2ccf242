# The processes of a local cluster: which they are, whether they run, how they begin
# and end. A part of scripts/start, which sets the folders, ports and entries.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

readonly members="identity keeper-1 keeper-2 keeper-3 nexus"
readonly keepers="keeper-1 keeper-2 keeper-3"

program_of() { printf '%s' "${1%-[0-9]}"; }

# port_of finds a member's port in $ports: Nexus's, then the Keepers'.
port_of() {
  local n=1
  case $1 in keeper-*) n=$((${1#keeper-} + 1)) ;; esac
  cut -d ' ' -f "$n" <<<"$ports"
}

# runs_copy says whether the process $1 runs the copy of program $2 that is ours.
# A pid alone proves nothing: it may be someone else's by now.
# (Every return names its status: in a trap, a bare one has that of the exit.)
runs_copy() {
  local exe
  [ "/proc/$1/exe" -ef "$bin/$2" ] && return 0
  exe=$(readlink "/proc/$1/exe" 2>/dev/null) && [ "$exe" = "$bin/$2 (deleted)" ] && is_ours "$1"
}

# pid_of prints the pid of a member that is alive.
pid_of() {
  local pid
  { read -r pid <"$run/$1.pid"; } 2>/dev/null || return 1
  runs_copy "$pid" "$(program_of "$1")" && printf '%s' "$pid"
}

alive() { pid_of "$1" >/dev/null; }

# leftovers prints "PID PROGRAM" for servers that a start of this folder has begun
# and no pid file knows: what is left of a start that was killed, or of a folder that
# was removed.
leftovers() {
  local exe pid program member known=" " names
  for member in $members; do
    known+="$(pid_of "$member" || true) "
  done
  names=$(find /proc/[0-9]*/exe -maxdepth 0 -printf '%p %l\n' 2>/dev/null)$'\n' || true
  for exe in /proc/[0-9]*/exe; do
    pid=${exe#/proc/} pid=${pid%/exe}
    case $known in *" $pid "*) continue ;; esac
    for program in identity keeper nexus; do
      if { [ "$exe" -ef "$bin/$program" ] || [[ $names == *"$exe $bin/$program (deleted)"$'\n'* ]]; } && is_ours "$pid"; then
        printf '%s %s\n' "$pid" "$program"
      fi
    done
  done
}

# is_ours says whether a start of this folder, by this user, has begun the process. Of
# a file that was removed there is but the name, and in a container the same name may
# be that of another file.
is_ours() {
  [ -O "/proc/$1" ] && [ "/proc/$1/ns/mnt" -ef /proc/self/ns/mnt ] &&
    grep -qzxF "SPIKE_LOCAL_CLUSTER=$local" "/proc/$1/environ" 2>/dev/null
}

# end stops processes, given as "NAME PID" lines: a polite signal first, and
# another one for whoever is still there after 15 s.
end() {
  local name pid signal _
  for signal in TERM KILL; do
    while read -r name pid; do
      if runs_copy "$pid" "$(program_of "$name")"; then kill -s "$signal" "$pid" 2>/dev/null || true; fi
    done <<<"$1"
    for _ in $(seq 300); do
      ended "$1" && return 0
      sleep 0.05
    done
    [ "$signal" = KILL ] || say "Not all have ended within 15 s; they are killed now."
  done
  die "some processes cannot be ended; see $run."
}

ended() {
  local name pid
  while read -r name pid; do
    if runs_copy "$pid" "$(program_of "$name")"; then return 1; fi
  done <<<"$1"
}

exit_on_signals() {
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

# launch starts a member in a session of its own, with nothing of the caller's
# but its environment: it outlives the shell, and holds none of its pipes.
launch() {
  local member=$1 program out fd signalled="" noted=1
  shift
  program=$(program_of "$member")
  out=$log/$member.log
  [ "$member" != nexus ] || out=$log/audit.log
  started+=" $member"
  # A signal waits until the process can be recognized, and so ended again.
  trap 'signalled=129' HUP
  trap 'signalled=130' INT
  trap 'signalled=143' TERM
  (
    cd /
    exec </dev/null >>"$out" 2>>"$log/$member.log"
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if [ "$fd" -gt 2 ]; then exec {fd}>&-; fi
    done
    exec setsid env "${common[@]}" "$@"
  ) &
  printf '%s\n' "$!" >"$run/$member.pid" || noted=""
  # Until it has become that program, it does not count as alive.
  for _ in $(seq 6000); do
    if runs_copy "$!" "$program" || ! kill -0 "$!" 2>/dev/null; then break; fi
    sleep 0.01
  done
  exit_on_signals
  [ -z "$signalled" ] || exit "$signalled"
  [ -n "$noted" ] || die "$run/$member.pid could not be written; the line above says why."
}

launch_member() {
  local peers="" keeper entry args=()
  case $1 in
    identity)
      drop_other_entries
      for entry in "$config/local.yaml" "${entries[@]}"; do args+=(--entries "$entry"); done
      launch identity "$bin/identity" run "${args[@]}"
      ;;
    keeper-*)
      launch "$1" SPIKE_KEEPER_TLS_PORT="127.0.0.1:$(port_of "$1")" "$bin/keeper"
      ;;
    nexus)
      for keeper in $keepers; do peers+=",https://127.0.0.1:$(port_of "$keeper")"; done
      launch nexus SPIKE_NEXUS_TLS_PORT="127.0.0.1:$(port_of nexus)" \
        SPIKE_NEXUS_KEEPER_PEERS="${peers#,}" SPIKE_NEXUS_SHAMIR_SHARES=3 SPIKE_NEXUS_SHAMIR_THRESHOLD=2 \
        SPIKE_NEXUS_BACKEND_STORE=sqlite SPIKE_NEXUS_DATA_DIR="$data" "$bin/nexus"
      ;;
  esac
}
