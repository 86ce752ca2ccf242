# The container engine, and what of this cluster is in it. A part of scripts/compose,
# which sets the project.
# What is read here is set there, and the other way round:
# shellcheck shell=bash disable=SC2154,SC2034

# find_engine sets tool to Compose, whichever there is.
find_engine() {
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
}

compose() { "${tool[@]}" --project-directory "$root" -f "$root/docker-compose.yaml" "$@"; }

# quietly shows what a command says only when it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || {
    printf '%s\n' "$output" >&2
    return 1
  }
}

# containers lists the project's, of one service if $1 names one.
containers() {
  docker ps -aq --filter "label=com.docker.compose.project=$project" ${1:+--filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False}
}

# networks and volumes list those that Compose made for the project.
networks() { docker network ls -q --filter "label=com.docker.compose.project=$project"; }
volumes() { docker volume ls -q --filter "label=com.docker.compose.project=$project"; }

# label shows one of a container's.
label() { docker inspect -f "{{index .Config.Labels \"$2\"}}" "$1"; }

# check_checkout keeps two checkouts from taking each other's containers for theirs.
check_checkout() {
  local container folder
  for container in $(containers); do
    folder=$(label "$container" com.docker.compose.project.working_dir)
    [ -z "$folder" ] || [ "$folder" = "$root" ] ||
      die "a cluster named $project runs already, from the checkout $folder. Use that one, or give yours another name and port: COMPOSE_PROJECT_NAME=spike2 SPIKE_COMPOSE_PORT=18553 scripts/compose up"
  done
}

need_cluster() {
  [ -n "$(containers nexus)" ] || die "no cluster named $project runs. Start it: scripts/compose up"
}

check_port() {
  local nexus
  nexus=$(containers nexus)
  if [ -n "$nexus" ] && [ "$(docker inspect -f '{{.State.Running}}' "$nexus")" = true ]; then return 0; fi
  # A port without a listener refuses at once.
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  die "port $port of 127.0.0.1 is taken by another program. Stop that one, or choose another port: SPIKE_COMPOSE_PORT=18553 scripts/compose up"
}

# remove_outdated removes containers of which the image or the settings are others by
# now. Nexus goes first, so that its Keepers hear from it to the last.
remove_outdated() {
  local hashes service container image outdated=()
  hashes=$(compose config --hash='*')
  for service in nexus keeper-1 keeper-2 keeper-3 identity; do
    container=$(containers "$service")
    [ -n "$container" ] || continue
    image=$(docker image inspect -f '{{.Id}}' "$(image_of "$service")")
    if [ "$(docker inspect -f '{{.Image}}' "$container")" != "$image" ] ||
      ! grep -qxF "$service $(label "$container" com.docker.compose.config-hash)" <<<"$hashes"; then
      outdated+=("$service")
    fi
  done
  [ ${#outdated[@]} -gt 0 ] || return 0
  say "Changed, and made anew: ${outdated[*]}"
  for service in "${outdated[@]}"; do
    quietly compose rm -s -f "$service" || die "the container of $service could not be removed."
  done
}

all_healthy() {
  local service container
  for service in "${servers[@]}"; do
    container=$(containers "$service")
    complaint="$service has not been started"
    [ -n "$container" ] || return 1
    complaint="$service is $(docker inspect -f '{{.State.Status}}, {{with .State.Health}}{{.Status}}{{end}}' "$container")"
    [ "$complaint" = "$service is running, healthy" ] || return 1
  done
  complaint=""
}

# end_containers ends Nexus first, as remove_outdated does.
end_containers() {
  [ -z "$(containers nexus)" ] || quietly compose stop nexus || die "Nexus could not be stopped."
  COMPOSE_PROFILES=pilot,sample quietly compose down --remove-orphans ||
    die "the containers could not be ended; the lines above say why."
}

# pilot runs Pilot as the user of a service. Compose says that it makes a container,
# which is no news, in the middle of what Pilot says.
pilot() {
  local service=$1 noise='^Creating [^ ]*_run[^ ]* \.\.\.'
  shift
  if [ -t 0 ] && [ -t 1 ]; then
    { compose run --rm --no-deps "$service" "$@" 2>&1 1>&3 3>&- | sed -u "/$noise/d" >&2 3>&-; } 3>&1
  else
    { compose run --rm --no-deps -T "$service" "$@" 2>&1 1>&3 3>&- | sed -u "/$noise/d" >&2 3>&-; } 3>&1
  fi
}
