#!/bin/sh
# Repeats this run and compares the stacks. Needs QEMU, but not kshot.
#
#   ./reproduce.sh           run, compare, say so
#   ./reproduce.sh --show    print QEMU's command line
#
# Ends with 0 where the guest shows the same stacks, with 1 where it shows others, with 125 where it shows none.
# The truth is in run/; it is not recorded again.
set -eu
cd "$(dirname "$0")"
self=./$(basename "$0")

qemu() {
	@QEMU@
}

if [ "${1:-}" = --show ]; then
	sed -n '/^qemu() {/,/^}/p' "$self"
	exit 0
fi

program=@PROGRAM@
command -v "$program" >/dev/null || {
	echo "reproduce: no $program here; Debian has it in @PACKAGE@" >&2
	exit 125
}

mkdir -p again
cat initramfs overlay.cpio.gz >again/initrd
echo "reproduce: booting @RELEASE@, at most @SECONDS@ s"
timeout @SECONDS@ sh -c "$(sed -n '/^qemu() {/,/^}/p' "$self"); qemu" </dev/null 2>again/qemu.log |
	tr -d '\r' >again/console.log || true
if [ ! -s again/console.log ]; then
	echo "reproduce: QEMU showed nothing; it said:" >&2
	cat again/qemu.log >&2
	exit 125
fi

# The guest prints each file between two marks of its own.
cut_out() {
	awk -v name="$1" '
		$0 == "==== kshot: end" { on = 0 }
		on { print }
		$0 == "==== kshot: " name { on = 1 }' again/console.log
}

# Function names in the order of the frames, a line a stack: addresses and times are left out.
frames() {
	awk '
		function end() { if (line != "") print line; line = "" }
		/^ => / { name = $2; sub(/\+0x.*/, "", name); line = line " " name; next }
		/^[[:space:]]+[0-9a-f]+ [^ ]+/ && kind == "perf" { name = $2; sub(/\+0x.*/, "", name); line = line " " name; next }
		{ end() }
		END { end() }' kind="$2" "$1"
}

status=125
for file in @FILES@; do
	case $file in *.perf-script.txt) kind=perf ;; *) kind=ftrace ;; esac
	cut_out "$file" >"again/$file"
	frames "run/$file" "$kind" >"again/$file.then"
	frames "again/$file" "$kind" >"again/$file.now"
	if [ ! -s "again/$file" ]; then
		echo "reproduce: the guest printed no $file; see again/console.log"
		status=125
		break
	elif cmp -s "again/$file.then" "again/$file.now"; then
		echo "reproduce: $file: the same $(wc -l <"again/$file.now") stacks"
		[ "$status" -eq 125 ] && status=0
	else
		echo "reproduce: $file: other stacks"
		diff "again/$file.then" "again/$file.now" || true
		status=1
	fi
done
exit "$status"
