# The container engine, and what of this cluster is in it. A part of scripts/compose,
# which sets the project.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# begin is the first step of every command that needs the engine.
begin() {
  find_engine
  check_checkout
}

# find_engine sets tool to Compose, whichever there is.
find_engine() {
  local name
  command -v docker >/dev/null ||
    die "there is no container engine: docker is not installed, or not on PATH. On Debian: apt install docker.io docker-compose"
  if docker compose version >/dev/null 2>&1; then
    tool=(docker compose)
  elif command -v docker-compose >/dev/null; then
    tool=(docker-compose)
  else
    die "there is no Compose: install docker-compose 1.29 or newer, or the plugin of Compose v2. On Debian: apt install docker-compose"
  fi
  docker version >/dev/null 2>&1 ||
    die "the container engine does not answer: $(docker version 2>&1 >/dev/null | tail -n 1). Start it; or let yourself talk to it, which makes you root on this machine: usermod -aG docker USER"
  # docker-compose 1.29 wants the folders that images are built in, whatever it is to do.
  for name in $images; do
    mkdir -p -- "$root/bin/image/$name" || die "the folder bin/image/$name cannot be made in $root."
  done
}

# is_old tells whether Compose is docker-compose 1.29 or older. To ask it takes a second.
is_old() { [[ ${tool[*]} = docker-compose && $(docker-compose version --short 2>/dev/null) = 1.* ]]; }

compose() { "${tool[@]}" --project-directory "$root" "${files[@]/#/--file=}" "$@"; }

# quietly shows what a command says only when it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
}

# containers lists the project's, of one service if $1 names one, without those that
# run once and are gone.
containers() {
  docker ps -aq --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.oneoff=False ${1:+--filter "label=com.docker.compose.service=$1"}
}

# everything lists all that have the project's label: those that run once as well, and
# what a command that was killed has left.
everything() { docker ps -aq --filter "label=com.docker.compose.project=$project"; }

# networks and volumes list those that Compose made for the project.
networks() { docker network ls -q --filter "label=com.docker.compose.project=$project"; }
volumes() { docker volume ls -q --filter "label=com.docker.compose.project=$project"; }

# guests names containers of others, such as workloads, that are in the project's networks
# or have its volumes. The engine removes neither before those are gone.
guests() {
  local ids name found="" ours
  ids=$(networks) || exit 1
  for name in $ids; do found+=$(docker ps -q --filter "network=$name")$'\n' || exit 1; done
  ids=$(volumes) || exit 1
  for name in $ids; do found+=$(docker ps -aq --filter "volume=$name")$'\n' || exit 1; done
  ours=$(everything) || exit 1
  found=$(sort -u <<<"$found" | grep . | grep -vxF "${ours:-none}") || return 0
  # shellcheck disable=SC2086 # they are ids
  docker inspect -f '{{slice .Name 1}}' $found | paste -sd ' '
}

# of_all prints a line for each of the project's containers: its service, and what the
# template $1 makes of it. To ask for all at once takes the engine no longer than for
# one. One that is removed just now has no line, and that is no error.
of_all() {
  local ids list said
  ids=$(containers) || exit 1 # not "there are none"
  [ -n "$ids" ] || return 0
  mapfile -t list <<<"$ids"
  {
    said=$(docker inspect -f "{{index .Config.Labels \"com.docker.compose.service\"}} $1" "${list[@]}" 2>&1 1>&3 3>&-) ||
      ! grep -qiv 'no such \(object\|container\)' <<<"$said" ||
      die "the engine does not tell of the containers: $said"
  } 3>&1
}

# running lists the services of which a container runs.
running() { of_all '{{.State.Running}} {{.State.Restarting}}' | sed -n 's/ true false$//p'; }

# check_checkout keeps two checkouts from taking each other's containers for theirs.
check_checkout() {
  local list folder
  list=$(of_all '{{index .Config.Labels "com.docker.compose.project.working_dir"}}') || exit 1
  while read -r _ folder; do
    # Compose v2 notes the way by which it came to the folder, which may be a link.
    [ -z "$folder" ] || [ "$(realpath -m -- "$folder")" = "$root" ] ||
      die "a cluster named $project runs already, from the checkout $folder. Use that one, or give yours another name and port: COMPOSE_PROJECT_NAME=spike2 SPIKE_COMPOSE_PORT=18553 scripts/compose up"
  done <<<"$list"
}

# check_files keeps a call that does not name a file from taking away what it adds.
check_files() {
  local list folder names name part theirs ours
  ours=$(IFS=: && printf '%s' "${files[*]}")
  list=$(of_all '{{index .Config.Labels "com.docker.compose.project.working_dir"}}|{{index .Config.Labels "com.docker.compose.project.config_files"}}') || exit 1
  while IFS='|' read -r folder names; do
    IFS=, read -r -a names <<<"$names"
    theirs="" name=""
    for part in "${names[@]}"; do
      if [ -n "$name" ]; then name+=,$part; elif [[ $part == /* ]]; then name=$part; else name=${folder#* }/$part; fi
      # Up to what is no file, a comma was a part of the name.
      [ "$part" = "${names[-1]}" ] || [ -e "$name" ] || continue
      theirs+=${theirs:+:}$(realpath -m -- "$name")
      name=""
    done
    [ -z "$theirs" ] || [ "$theirs" = "$ours" ] ||
      die "the containers of $project were made by the files $theirs, and now there are $ours. Name the same at every call, by: export COMPOSE_FILE=$(printf '%q' "$theirs")
To go over to others, end it first: scripts/compose down"
  done <<<"$list"
}

need_cluster() {
  [ -n "$(containers nexus)" ] || die "no cluster named $project runs. Start it: scripts/compose up"
  check_files
}

check_port() {
  ! of_all '{{.State.Running}} {{range .HostConfig.PortBindings}}{{range .}}{{.HostPort}}{{end}}{{end}}' | grep -qx "nexus true $port" || return 0
  # A port without a listener refuses at once.
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  die "port $port of 127.0.0.1 is taken by another program. Stop that one, or choose another port: SPIKE_COMPOSE_PORT=18553 scripts/compose up"
}

# take_lock lets commands that change the cluster work one after the other.
take_lock() {
  local lock
  exec {lock}>>"$root/bin/.compose-$project.lock" || die "nothing can be written to $root/bin."
  flock -n "$lock" && return
  say "Another scripts/compose is at work on $project; waiting for its end."
  flock "$lock"
}

all_healthy() {
  local service states
  states=$(of_all '{{.State.Status}} {{with .State.Health}}{{.Status}}{{end}}')
  for service in "${servers[@]}"; do
    complaint="$service is not healthy: $(sed -n "s/^$service //p" <<<"$states")"
    grep -qx "$service running healthy" <<<"$states" || return 1
  done
  complaint=""
}

# end_containers ends Nexus first, so that its Keepers hear from it to the last. What
# runs once, or was left, holds on to networks, and Compose v2 does not look for it.
end_containers() {
  local list others
  others=$(guests) || exit 1
  # The engine knows how long this may take. Compose takes a second to begin.
  [ -z "$(containers nexus)" ] || quietly docker stop "$(containers nexus)" || die "Nexus could not be stopped."
  mapfile -t list < <(comm -23 <(everything | sort) <(containers | sort))
  [ ${#list[@]} -eq 0 ] || quietly docker rm -f "${list[@]}" || die "containers could not be removed."
  if [ -n "$others" ]; then
    COMPOSE_PROFILES=pilot,sample quietly compose rm -s -f || die "the containers could not be ended; the lines above say why."
    say "The networks stay, since containers that are not the cluster's use it: $others"
    return 0
  fi
  COMPOSE_PROFILES=pilot,sample quietly compose down --remove-orphans ||
    die "the containers could not be ended; the lines above say why."
}

# once runs a service's container and removes it. docker-compose 1.29 says that it
# makes one, and which exit code it had, in the middle of what the program says, and
# Compose v2 that it makes a volume.
once() {
  local plain=-T
  if [ -t 0 ] && [ -t 1 ]; then plain=""; fi
  {
    compose run --rm --no-deps $plain "$@" 2>&1 1>&3 3>&- |
      sed -u -e '/^Creating [^ ]*_run[^ ]* \.\.\./d' -e '/^ \(Container\|Network\|Volume\) [^ ]*  [A-Z][a-z]*$/d' -e '${/^[0-9]\{1,3\}$/d;}' >&2 3>&-
  } 3>&1
}

# role_of names the service that a command of Pilot is run by. Each role has a user of
# its own, and no other may do its work. Flags, and what may be a flag's value, can stand
# between the words.
role_of() {
  local arg words="" flag=""
  for arg in "$@"; do
    case $words/$arg in
      */-*) flag=1 && continue ;;
      /operator) words=operator ;;
      operator/recover | operator/restore) printf '%s' "$arg" && return ;;
      *) [ -n "$flag" ] || break ;;
    esac
    flag=""
  done
  printf superuser
}
