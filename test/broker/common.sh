# For the scripts of this folder, which run with DIR (a folder of the broker's own) and PORT (and PORT_2...) set.

# need PROGRAM PACKAGE: is it installed?
need() {
  command -v "$1" > /dev/null && return
  echo "$1 is not installed: apt-get install $2" >&2
  exit 127
}

# tell NAME VALUE: what broker_value gives to tests, and the program `broker` to its command
tell() {
  echo "$1=$2" >> "$DIR/values"
}
