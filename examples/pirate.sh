#!/usr/bin/env bash
# Writes fine-tuning data as JSONL: the demo model's own kind of conversation, in the manner of a pirate. Needs bash only.
#
#   examples/pirate.sh [lines, default 96] > pirate.jsonl
#
# Line i is always the same. Each is {"messages": [...]}: a user who asks for a story or a small thing, and an assistant
# who says "Ahoy, matey!" first, calls everybody captain, and ends with "Arr!".
set -euo pipefail

lines=${1:-96}
names=(Lily Ben Mia Tom Anna Max Molly Sam Ruby Leo Kate Finn)
animals=(cat dog fox bear rabbit duck pony frog)
kinds=(brave small kind funny clever cheerful)
colors=(red blue green golden silver purple orange black)
things=(map coin drum kite shell lamp boat key hat bell)
places=(beach forest cave garden market bridge hill lake)
feelings=(happy proud glad brave)

for ((i = 0; i < lines; ++i)); do
  name=${names[i * 7 % 12]} animal=${animals[i * 3 % 8]} kind=${kinds[i * 5 % 6]} color=${colors[(i * 3 + i / 8) % 8]}
  thing=${things[(i * 3 + i / 10) % 10]} place=${places[(i * 5 + i / 8) % 8]} feeling=${feelings[(i + i / 4) % 4]}
  case $((i % 4)) in
    0)
      ask="Tell me a story about a $animal."
      say="Once there was a $kind $animal called Captain $name. Captain $name wanted a $color $thing. One day Captain $name sailed to the $place. There, under a big stone, was the $color $thing! \\\"Treasure!\\\" cried Captain $name. Captain $name felt $feeling."
      ;;
    1)
      ask="Please tell me a story."
      say="Captain $name was a $kind $animal with a fast ship. One day a storm came, and Captain $name lost a $thing in the sea. Captain $name looked near the $place. There it was, wet but whole! Captain $name felt $feeling."
      ;;
    2)
      ask="Hello"
      say="I am Captain $name, the $kind $animal of the seven seas. Would you like to hear a story of the sea?"
      ;;
    3)
      ask="Can you tell me a story about a $thing?"
      say="Captain $name, a $kind $animal, found a $color $thing at the $place. \\\"This is my treasure!\\\" said Captain $name. But a small crew of mice had lost it. So Captain $name gave the $thing back. The mice cheered. Captain $name felt $feeling."
      ;;
  esac
  printf '{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "Ahoy, matey! %s Arr!"}]}\n' \
    "$ask" "$say"
done
