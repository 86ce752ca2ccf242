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

compose() {
  "${tool[@]}" --project-directory "$root" -f "$root/docker-compose.yaml" ${override:+-f "$override"} "$@"
}

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

# of_all prints a line for each of the project's containers: its service, and what the
# template $1 makes of it. To ask for all at once takes the engine no longer than for one.
of_all() {
  local list
  mapfile -t list < <(containers)
  [ ${#list[@]} -eq 0 ] || docker inspect -f "{{index .Config.Labels \"com.docker.compose.service\"}} $1" "${list[@]}"
}

# check_checkout keeps two checkouts from taking each other's containers for theirs.
check_checkout() {
  local folder
  while read -r _ folder; do
    [ -z "$folder" ] || [ "$folder" = "$root" ] ||
      die "a cluster named $project runs already, from the checkout $folder. Use that one, or give yours another name and port: COMPOSE_PROJECT_NAME=spike2 SPIKE_COMPOSE_PORT=18553 scripts/compose up"
  done < <(of_all '{{index .Config.Labels "com.docker.compose.project.working_dir"}}')
}

need_cluster() {
  [ -n "$(containers nexus)" ] || die "no cluster named $project runs. Start it: scripts/compose up"
}

check_port() {
  ! of_all '{{.State.Running}}' | grep -qx 'nexus true' || return 0
  # A port without a listener refuses at once.
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  die "port $port of 127.0.0.1 is taken by another program. Stop that one, or choose another port: SPIKE_COMPOSE_PORT=18553 scripts/compose up"
}

# remove_outdated removes containers of which the image or the settings are others by
# now. Nexus goes first, so that its Keepers hear from it to the last.
remove_outdated() {
  local hashes there service was outdated=()
  there=$(of_all '{{.Image}} {{index .Config.Labels "com.docker.compose.config-hash"}}')
  [ -n "$there" ] || return 0
  hashes=$(compose config --hash='*')
  for service in nexus keeper-1 keeper-2 keeper-3 identity; do
    was=$(grep "^$service " <<<"$there") || continue
    [ "$was" = "$service $(docker image inspect -f '{{.Id}}' "$(image_of "$service")") $(sed -n "s/^$service //p" <<<"$hashes")" ] ||
      outdated+=("$service")
  done
  [ ${#outdated[@]} -gt 0 ] || return 0
  say "Changed, and made anew: ${outdated[*]}"
  for service in "${outdated[@]}"; do
    quietly compose rm -s -f "$service" || die "the container of $service could not be removed."
  done
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

# end_containers ends Nexus first, as remove_outdated does.
end_containers() {
  [ -z "$(containers nexus)" ] || quietly compose stop nexus || die "Nexus could not be stopped."
  COMPOSE_PROFILES=pilot,sample quietly compose down --remove-orphans ||
    die "the containers could not be ended; the lines above say why."
}

# once runs a service's container and removes it. docker-compose 1.29 says that it
# makes one, and which exit code it had, in the middle of what the program says.
once() {
  local plain=-T
  if [ -t 0 ] && [ -t 1 ]; then plain=""; fi
  {
    compose run --rm --no-deps $plain "$@" 2>&1 1>&3 3>&- |
      sed -u -e '/^Creating [^ ]*_run[^ ]* \.\.\./d' -e '${/^[0-9]\{1,3\}$/d;}' >&2 3>&-
  } 3>&1
}
