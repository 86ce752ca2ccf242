#compdef spike
# Completion of spike for zsh.
# Nothing on the command line is expanded here, and nothing but spike itself is run.
# Nothing is ever printed: a message would land in the middle of what is being typed.

_spike() {
  # Spike has decided what fits. Another way to compare would only ask it again.
  [[ ${_matcher_num:-1} == 1 && ${_completer:-} != (approximate|correct)* ]] || return 1

  # The word up to the cursor, as spike would get it.
  local quote=$compstate[quote]
  local word=${(Q)${:-$quote$PREFIX$quote}}
  # Zsh takes a brace that is not quoted for an expansion, and keeps it whatever is
  # offered: nothing that it would make of a path with a brace were that path.
  local whole=$word${(Q)${:-$quote$SUFFIX$quote}}
  [[ ${(Q)words[CURRENT]} == $whole || ${(Q)${:-$words[CURRENT]\'}} == $whole ||
    ${(Q)${:-$words[CURRENT]\"}} == $whole ]] || return 1

  local command=${(Q)words[1]}
  command=${command/#'~/'/$HOME/}
  [[ $command == */* ]] || command=spike # another name is an alias of it
  local -a lines=("${(@f)$("$command" __complete "${(@Q)words[2,CURRENT-1]}" "$word" </dev/null 2>/dev/null)}")
  local directive=${lines[-1]#:}
  [[ $directive == <-> ]] && (( !(directive & 1) )) || return 1

  # Values of a flag come without it.
  local flag= line name
  [[ $word != -*=* ]] || flag=${word%%=*}=
  local -a names folders
  for line in "${(@)lines[1,-2]}"; do
    [[ $line == $flag* ]] || line=$flag$line
    name=${line%%$'\t'*}
    [[ $name == ${word}* ]] || continue
    line=${name//(#m)[\\:]/\\$MATCH}${${line#$name}/#$'\t'/:}
    if [[ $name == */ ]]; then folders+=("$line"); else names+=("$line"); fi
  done
  if (( $#names + $#folders )); then
    _describe -V completion names -- folders -S ''
    return
  fi
  (( !(directive & 4) )) || return 1
  [[ -z $flag ]] || compset -P '-[^=]#='
  if (( directive & 16 )); then _files -/; else _files; fi
}

if [[ $funcstack[1] == _spike ]]; then
  _spike "$@"
elif (( $+functions[compdef] )); then
  compdef _spike spike
else
  echo 'The completion of spike needs that of zsh. Before it: autoload -U compinit; compinit' >&2
fi
