# Completion of spike for bash 4.4 and newer. It needs no other package.
# Nothing on the command line is expanded here, and nothing but spike itself is run.
# Nothing is ever printed: a message would land in the middle of what is being typed.
# shellcheck shell=bash

# __spike_split reads the line up to the cursor as bash would. It sets words, which
# are without their quotes, the last one the word that is being typed; raw, that word
# as it stands; quote, the quote that is open at its end, and open, where in raw that
# one ends; and length, how much of the word each beginning of raw is.
__spike_split() {
  local line=${COMP_LINE:0:COMP_POINT} word='' c i
  words=() raw='' quote='' open=0 length=(0)
  for ((i = 0; i < ${#line}; i++)); do
    c=${line:i:1}
    case $quote$c in
      [$' \t\n'])
        [[ -z $raw ]] || words+=("$word")
        word='' raw='' length=(0)
        continue
        ;;
      "'" | '"') quote=$c open=$((${#raw} + 1)) ;;
      "''" | '""') quote='' ;;
      \\ | \"\\)
        # At the end of the line there is nothing that it could escape yet.
        raw+=$c c=${line: ++i:1}
        [[ -z $quote || -z $c || $c == [\"\\\$\`] ]] || word+=\\
        word+=$c
        ;;
      *) word+=$c ;;
    esac
    raw+=$c
    length[${#raw}]=${#word}
  done
  words+=("$word")
}

# __spike_quote writes its argument as it must stand behind the open quote. It fails
# where there is no way to.
__spike_quote() {
  local special=$' \t!"#$&\'()*;<>?[\\]^`{|}~' c i
  case $quote in
    "'") REPLY=${1//\'/"'\\''"}; return ;;
    '"')
      # Bash keeps the backslash before it, and takes it for its history without one.
      [[ $1 != *!* ]] || return
      special='"$\`'
      ;;
  esac
  REPLY=''
  for ((i = 0; i < ${#1}; i++)); do
    c=${1:i:1}
    [[ $special != *"$c"* ]] || REPLY+=\\
    REPLY+=$c
  done
}

# __spike_ask asks spike what there is for the words, and sets directive, names and
# descriptions. It fails when spike does.
__spike_ask() {
  local command=${words[0]} lines line flag=''
  names=() descriptions=() directive=''
  # shellcheck disable=SC2088 # it is what was typed, and is replaced here
  [[ $command != '~/'* ]] || command=$HOME/${command:2}
  # Another name is an alias of spike.
  [[ $command == */* ]] || command=spike
  mapfile -t lines < <("$command" __complete "${words[@]:1}" </dev/null 2>/dev/null)
  ((${#lines[@]} > 0)) || return
  directive=${lines[-1]#:}
  [[ $directive =~ ^[0-9]+$ ]] && ((!(directive & 1))) || return
  unset 'lines[-1]'
  # Values of a flag come without it.
  [[ ${words[-1]} != -*=* ]] || flag=${words[-1]%%=*}=
  for line in "${lines[@]}"; do
    [[ -z $flag || $line == "$flag"* ]] || line=$flag$line
    [[ ${line%%$'\t'*} == "${words[-1]}"* ]] || continue
    names+=("${line%%$'\t'*}")
    [[ $line == *$'\t'* ]] && line=${line#*$'\t'} || line=''
    descriptions+=("$line")
  done
}

# __spike_complete is what bash calls, with the part of the line that it is going to
# replace as $2.
__spike_complete() {
  local IFS=$' \t\n' words raw quote open length directive names descriptions
  local REPLY before common='' beside=() width=0 i
  COMPREPLY=()
  __spike_split
  __spike_ask || return 0
  # Bash closes the quote behind the only thing that there is, and a folder is not the
  # end of a path.
  while [[ -n $quote && ${#names[@]} == 1 && ${names[0]} == */ && ${names[0]} != "${words[-1]}" ]]; do
    words[-1]=${names[0]}
    __spike_ask || return 0
  done
  if ((${#names[@]} == 0)); then
    ((directive & 4)) || compopt -o default
    ((!(directive & 16))) || compopt -o filenames -o dirnames
    return 0
  fi

  # What is replaced begins behind an open quote, or else behind the last character
  # that ends a word for bash, as '=' does.
  before=$open
  if [[ -z $quote ]]; then
    [[ $raw == *"$2" ]] || return 0
    before=$((${#raw} - ${#2}))
  fi
  before=${length[before]}
  for i in "${!names[@]}"; do
    __spike_quote "${names[i]:before}" || continue
    ((${#COMPREPLY[@]})) || common=$REPLY
    COMPREPLY+=("$REPLY")
    beside+=("${descriptions[i]}")
    while [[ $REPLY != "$common"* ]]; do common=${common%?}; done
    ((${#REPLY} <= width)) || width=${#REPLY}
  done
  if ((${#COMPREPLY[@]} == 1)); then
    [[ ${COMPREPLY[0]} != */ ]] || compopt -o nospace
    return 0
  fi
  # What is only shown, and not put into the line one by one, has its description.
  ((COMP_TYPE != 37 && COMP_TYPE != 42)) || return 0
  for i in "${!beside[@]}"; do
    [[ -n ${beside[i]} ]] || continue
    printf -v REPLY '%-*s  (%s)' "$width" "${COMPREPLY[i]}" "${beside[i]}"
    COMPREPLY[i]=${REPLY:0:COLUMNS > width + 8 ? COLUMNS - 2 : width}
  done
  # Bash types what all have in common. Half of an escape is not to be in that: with a
  # blank among them they have nothing.
  [[ ${common//\\\\/} != *\\ ]] || COMPREPLY+=(' ')
}

if ((BASH_VERSINFO[0] > 4 || BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4)); then
  complete -o nosort -F __spike_complete spike
else
  echo "The completion of spike needs bash 4.4 or newer." >&2
fi
