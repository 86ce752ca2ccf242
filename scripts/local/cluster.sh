# What a local cluster is asked, and what is done until it is open and filled. A part
# of scripts/start, which sets the folders and ports.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# pilot runs the command line as this cluster's.
# (The port without a command substitution: bash may misread its own traps when a
# signal comes in the midst of one.)
pilot() {
  env "${common[@]}" SPIKE_NEXUS_API_URL="https://127.0.0.1:${ports%% *}" "$bin/spike" "$@"
}

# field takes a text field from what "operator status -o json" printed.
field() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" <<<"$status"; }

# holding counts the Keepers that hold what $1 matches.
holding() { grep -cE "^ +\"holds\": \"($1)\"" <<<"$status" || true; }

identity_answers() { complaint=$("$bin/identity" health --socket "$socket" 2>&1); }

# look asks Nexus for its state and keeps the answer in $status.
look() {
  local output
  if output=$(pilot operator status -o json 2>&1); then
    status=$output complaint=""
    return 0
  fi
  status="" complaint=$output
  return 1
}

all_answer() { look && [ "$(holding unknown)" = 0 ]; }
# A Nexus that has found enough shares opens in a moment, and is not helped then.
settled() { look && { [ "$(field state)" != locked ] || [ "$(holding 'share|pending')" -lt "$(field threshold)" ]; }; }
# Opened or not, it is known what became of it.
is_decided() { look && [ "$(field state)" != locked ]; }
is_open() { look && [ "$(field state)" = open ]; }
all_filled() { is_open && [ "$(holding share)" = 3 ]; }

# bring_up makes a new cluster, or helps one that lost its Keepers' memory.
bring_up() {
  local shard shards=() older begun began_ports
  await 20 "An answer from Nexus and all Keepers" all_answer
  await 20 "Nexus's unlocking by its Keepers" settled
  case $(field state) in
    uninitialized)
      # From here on the root key may be in these processes alone, until it is on paper:
      # a start that is cut off must leave them, and their ports.
      begun=$started began_ports=$new_ports started="" new_ports=""
      say "Making a new cluster: spike operator init"
      pilot operator init >"$log/init.log" 2>&1 || {
        cat "$log/init.log" >&2
        if look && [ "$(field state)" = uninitialized ]; then
          started=$begun new_ports=$began_ports
          die "the cluster could not be initialized."
        fi
        die "whether the cluster was initialized is not known. What was begun still runs: $again goes on from there, $again --stop ends it."
      }
      # Only now is it certain that these are of no use to this store.
      if [ -e "$recover" ]; then
        older=$recover.older.$(date +%Y%m%d%H%M%S)
        mv "$recover" "$older"
        say "The store is new; recovery shards of an earlier one were moved to $older."
      fi
      ;;
    locked)
      for shard in "$recover"/shard-*.txt; do
        [ ! -e "$shard" ] || shards+=(--file "$shard")
      done
      if [ ${#shards[@]} -eq 0 ]; then
        started="" # people must be able to bring their shards to it
        show_next
        die "Nexus is locked: its Keepers are empty, and there are no recovery shards in $recover. It waits for them: spike operator restore"
      fi
      say "Too many Keepers were stopped, and the root key was gone with them: it was in memory alone."
      say "Feeding in the recovery shards from $recover: spike operator restore"
      say "(They lie beside the data, and both together are every secret. That suits development;"
      say "in production, people keep the shards apart.)"
      pilot operator restore "${shards[@]}" >"$log/restore.log" 2>&1 || {
        cat "$log/restore.log" >&2
        if ! alive nexus; then
          tail_of nexus
          die "Nexus ended while it was given the recovery shards; the lines above say why."
        fi
        started=""
        die "the recovery shards were not accepted. Nexus runs, and is locked."
      }
      ;;
  esac
  await 20 "Nexus's opening" is_decided
  case $(field state) in
    behind)
      started="" # what is to be done about it takes a Nexus that runs
      pilot operator status >&2 || true
      show_next
      die "the data in $data is an earlier state than the Keepers were told of, so nothing is served. Stop the cluster and put the right data back, or accept what is lost: spike operator accept --help"
      ;;
    failed)
      tail_of nexus
      die "Nexus's store has failed; the lines above say why."
      ;;
  esac
  await 20 "Nexus's opening" is_open
  await 20 "Each Keeper's getting its share" all_filled
  # A start that was cut off may have left these out.
  if ! [ -e "$recover" ]; then
    pilot operator recover --dir "$recover" >"$log/recover.log" 2>&1 || {
      cat "$log/recover.log" >&2
      started=""
      die "the recovery shards could not be written to $recover; the lines above say why. The cluster runs, and its root key is in its memory alone: put that right, and $again writes them."
    }
  fi
}

# show_secret proves that the cluster works.
show_secret() {
  local value code=0
  value=$(pilot secret get demo/hello greeting 2>"$log/demo.log") || code=$?
  if [ "$code" = 0 ]; then
    say "Read the secret demo/hello, which was there: $value"
    return 0
  fi
  value="Hello from SPIKE"
  if [ "$code" = 3 ] &&
    printf '%s' "$value" | pilot secret put demo/hello greeting=- 2>"$log/demo.log" &&
    [ "$(pilot secret get demo/hello greeting 2>>"$log/demo.log")" = "$value" ]; then
    say "Wrote the secret demo/hello, and read it back: $value"
    return 0
  fi
  cat "$log/demo.log" >&2
  die "the secret demo/hello could not be written and read."
}

show_cluster() {
  local member where
  say ""
  for member in $members; do
    where="https://127.0.0.1:$(port_of "$member")"
    [ "$member" != identity ] || where="unix://$socket"
    say "$(printf '  %-9s %-34s pid %s' "$member" "$where" "$(pid_of "$member")")"
  done
  say "  data      $data"
  say "  recovery  $recover"
  say "  logs      $log (audit.log: who did what)"
}

show_next() {
  local pairs
  pairs=$(printf ' %q' "SPIFFE_ENDPOINT_SOCKET=unix://$socket" \
    "SPIKE_NEXUS_API_URL=https://127.0.0.1:$(port_of nexus)" "SPIKE_TRUST_ROOT=spike.ist" "SPIKE_PILOT_RECOVERY_DIR=$recover")
  cat <<TEXT || true

In each shell, once:

  export PATH=$(printf '%q' "$bin"):"\$PATH"$pairs

Then, for example:

  spike secret get demo/hello
  spike secret put demo/db user=app password=-
  spike operator status

If a process dies, scripts/start starts it again; a killed Nexus gets its root key
back from the Keepers by itself. The end of it all: $again --stop
TEXT
}
