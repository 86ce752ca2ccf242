# What a cluster in containers is asked, and what is done until it is open and filled.
# A part of scripts/compose, which sets the project.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# field takes a text field from what "operator status -o json" printed.
field() { sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" <<<"$status"; }

# holding counts the Keepers that hold what $1 matches.
holding() { grep -cE "^ +\"holds\": \"($1)\"" <<<"$status" || true; }

# look asks Nexus for its state and keeps the answer in $status.
look() {
  local output
  if output=$(once superuser operator status -o json 2>&1 </dev/null); then
    status=$output complaint=""
    return 0
  fi
  status="" complaint=$output
  return 1
}

# holders lists the Keepers that hold their share, as their services are called.
holders() {
  awk -F '"' '$2 == "url" { split($4, part, "[:/]+") } $2 == "holds" && $4 == "share" { print part[2] }' <<<"$status"
}

all_answer() { look && [ "$(holding unknown)" = 0 ]; }
# A Nexus that has found enough shares opens in a moment, and is not helped then.
settled() { [ "$(field state)" != locked ] || [ "$(holding 'share|pending')" -lt "$(field threshold)" ]; }
looked_and_settled() { look && settled; }
answered_and_settled() { all_answer && settled; }
filled() { [ "$(field state)" = open ] && [ "$(holding share)" = 3 ]; }
# What was seen last may do; each look costs a container.
all_filled() { filled || { look && filled; }; }

# restarts lists how often the engine has restarted each container.
restarts() { of_all '{{.RestartCount}}'; }

# unsteady names a server that was restarted three times since $1 was listed.
unsteady() {
  awk 'NR == FNR { was[$1] = $2; next } $2 - was[$1] >= 3 { print $1; exit }' <(printf '%s\n' "$1") <(restarts)
}

tail_of() {
  printf '\nThe last lines of %s:\n' "$1" >&2
  docker logs --tail 12 "$(containers "$1")" 2>&1 | sed 's/^/  /' >&2
}

# await repeats the check "$3…" until it succeeds, for at most $1 seconds; $2 says what
# is waited for. It gives up at once when a server ends again and again.
await() {
  local deadline=$((SECONDS + $1)) what=$2 service before
  before=$(restarts)
  shift 2
  until "$@"; do
    service=$(unsteady "$before")
    if [ -n "$service" ]; then
      tail_of "$service" || true
      die "$service does not stay up; the lines above say why."
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      tail_of nexus || true
      [ -z "$complaint" ] || printf '\n%s\n' "$complaint" >&2
      die "$what did not come about. See scripts/compose ps, and scripts/compose logs."
    fi
    sleep 0.2
  done
}

# within repeats the check "$2…" for at most $1 seconds, and tells whether it succeeded.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || return
    sleep 0.2
  done
}

# bring_up makes a new cluster, or helps one that lost its Keepers' memory. Where the
# data volume is empty and is to stay so, it says so in empty.
bring_up() {
  await 180 "an answer from Nexus and all Keepers" answered_and_settled
  case $(field state) in
    uninitialized)
      if [ -z "$1" ]; then
        say "Nexus runs, and has no cluster. To load a backup: scripts/compose load FILE. To make a new cluster: scripts/compose up"
        empty=1
        return 0
      fi
      [ "$1" = new ] || refuse_beside_shards
      initialize
      made=1
      ;;
    locked) feed ;;
    behind)
      once superuser operator status >&2 </dev/null || true
      die "the data volume is in an earlier state than the Keepers were told of, so nothing is served. Put the right data back, or accept what is lost: scripts/compose spike operator accept --help"
      ;;
  esac
  await 180 "Nexus's opening, and each Keeper's getting its share" all_filled
  keep_shards
  remove_init
}

# refuse_beside_shards: where there are recovery shards there was a cluster, and an
# empty data volume is then more likely a mistake than a wish.
refuse_beside_shards() {
  local clusters
  clusters=$(kept_clusters)
  [ -n "$clusters" ] || return 0
  die "the data volume is empty, but the volume ${project}_recovery has recovery shards of a cluster ($clusters): its data is missing. Nexus runs, and nothing was changed.
To bring that cluster back from a backup: scripts/compose load FILE
To make a new cluster and leave those shards where they are: scripts/compose up --new"
}

initialize() {
  local container
  say "Making a new cluster: spike operator init"
  remove_init
  quietly compose up -d --no-build --no-deps init || die "init could not be started."
  container=$(containers init)
  if [ "$(docker wait "$container")" != 0 ]; then
    docker logs "$container" >&2
    if look && [ "$(field state)" = uninitialized ]; then
      die "the cluster could not be initialized. There is none, as before; the lines above say why."
    fi
    die "init failed; the lines above say why. What there is now: scripts/compose spike operator status"
  fi
  look || die "$complaint"
}

# remove_init: who starts this container is a superuser, and its work is done.
remove_init() {
  [ -z "$(containers init)" ] || quietly compose rm -s -f init || die "the container of init could not be removed."
}

# feed brings a locked Nexus its root key. Pilot in the role restore gets the shards as
# people would give them, through its standard input; it cannot read the volume.
feed() {
  local folder
  folder=$(shard_folder)
  if [ -z "$folder" ]; then
    die "Nexus is locked: its Keepers are empty, and there are no recovery shards of its cluster in the volume ${project}_recovery. Bring yours: scripts/compose spike operator restore < shard-1.txt"
  fi
  say "Too many Keepers were stopped, and the root key was gone with them: it was in memory alone."
  say "Feeding in the recovery shards from the volume ${project}_recovery: spike operator restore"
  say "(They lie beside the data, and both together are every secret. That suits one machine;"
  say "elsewhere, people keep the shards apart.)"
  show_shards "$folder" | quietly once restore operator restore ||
    die "the recovery shards were not accepted. Nexus runs, and is locked."
  look || die "$complaint"
}

# show_secret proves that the cluster works. Of what Pilot says, only the last is of use.
show_secret() {
  local value="" code=3
  said=$(mktemp)
  [ -n "$made" ] || { code=0 && value=$(once superuser secret get demo/hello greeting 2>"$said" </dev/null) || code=$?; }
  if [ "$code" = 0 ]; then
    say "Read the secret demo/hello, which was there: $value"
    return 0
  fi
  value="Hello from SPIKE"
  if [ "$code" = 3 ] &&
    printf '%s' "$value" | once superuser secret put demo/hello greeting=- 2>"$said" &&
    [ "$(once superuser secret get demo/hello greeting 2>>"$said" </dev/null)" = "$value" ]; then
    say "Wrote the secret demo/hello, and read it back: $value"
    return 0
  fi
  cat "$said" >&2
  die "the secret demo/hello could not be written and read."
}
