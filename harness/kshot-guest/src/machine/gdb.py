# The truth: stacks of the guest, unwound from outside by gdb with the kernel's own DWARF.
#
# gdb runs this with `-nx -batch -x`. The first line of standard input says of what kernel, as JSON, and the second,
# which may come much later, what is wanted:
#
#   {"vmlinux": PATH, "index": PATH}
#   {"function": "register_netdevice", "hits": 100, "folder": PATH, "socket": NAME, "stacks": PATH,
#    "modules": [{"path": PATH, "sections": {".text": "0xffffffffc0168000"}}],
#    "task": {"register": "gp", "structure": "struct thread_info", "field": "task"}, "tracer": null}
#
# Anything more on it, or its end, ends this. On standard output it says how far it is, a line of JSON each:
# `armed`; then `done`, or `failed` with what failed and why. The stacks go to the file `stacks`, a line of JSON
# each, after one line that says where the breakpoint is.
#
# With a `tracer` (registers by DWARF's number and gdb's name, and the size of a kernel stack), the function is one of the function tracer that has
# the traced place in its argument `ip`. Then what is written is no stack but what one can be had from: the registers
# and all that is on the kernel's stack, of each traced place for the first `hits`, with the number of the hit, from 1,
# in `event`; behind them a line with the number of all hits. What gdb prints for people goes to standard error.

import json
import os
import threading

import gdb

DEEPEST_STACK = 1024
# The kernel's longest banner is far below.
LONGEST_BANNER = 1024
# The traced place, as `trace_function` calls it.
TRACED = "ip"

EVENTS = os.dup(1)
os.dup2(2, 1)


class Failed(Exception):
    """What is said instead of `done`: what failed, in one word, and why."""


def say(event, **more):
    os.write(EVENTS, (json.dumps({"event": event, **more}) + "\n").encode())


def request():
    """The next line, byte by byte: the rest is for `wait_for_end`."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return json.loads(line)


def escaped(path):
    """A path as a word of gdb's."""
    return path.replace("\\", "\\\\").replace(" ", "\\ ")


def address(value):
    return int(value) & 0xFFFF_FFFF_FFFF_FFFF


def text(array):
    """A char array up to its zero. The guest may have put anything there."""
    first, last = array.type.range()
    data = bytes(int(array[i]) & 0xFF for i in range(first, last + 1))
    return data.split(b"\0")[0].decode("utf-8", "replace")


def banner():
    """`linux_banner`: out of the file before gdb is connected, out of the guest's memory after."""
    start = address(gdb.parse_and_eval("(unsigned long)&linux_banner"))
    data = bytes(gdb.selected_inferior().read_memory(start, LONGEST_BANNER))
    return data.split(b"\0")[0].decode("utf-8", "backslashreplace").strip()


class Kernel:
    """Whether the guest runs the kernel that the file is of. Its memory can be read only while it runs the kernel's
    code, and not that of a program: if it does not yet, it does at the first hit."""

    def __init__(self):
        self.expected, self.unknown = banner(), True

    def check(self):
        if not self.unknown:
            return
        try:
            found = banner()
        except gdb.MemoryError:
            return
        self.unknown = False
        if found != self.expected:
            raise Failed("kernel", f"the guest's memory holds the banner \"{found}\", the file \"{self.expected}\"")

    def checked(self):
        self.check()
        if self.unknown:
            raise Failed("gdb", "it never saw the guest's kernel, to ask which one it is")


def symbol(name):
    return address(gdb.parse_and_eval(f"(unsigned long)&'{name}'"))


def symbol_start(name, pc):
    """Where a symbol without debug information starts, if that is before the place."""
    try:
        start = symbol(name)
    except gdb.error:
        return None
    return start if start <= pc else None


def bounds(frame, pc):
    """Start and size of the function that a physical frame is in."""
    try:
        block = frame.block()
    except RuntimeError:
        block = None
    while block is not None and not block.is_global and not block.is_static:
        outer = block.superblock
        # The block of an inlined function lies in the one of its caller.
        if block.function is not None and (outer is None or outer.is_static or outer.is_global):
            return block.start, block.end - block.start
        block = outer
    name = frame.name()
    return (symbol_start(name, pc) if name else None), None


def describe(frame):
    pc = address(frame.pc())
    inlined = frame.type() == gdb.INLINE_FRAME
    start, size = (None, None) if inlined else bounds(frame, pc)
    place = frame.find_sal()
    known = place.symtab is not None
    return {
        "pc": f"{pc:#x}",
        "function": frame.name(),
        "start": None if start is None else f"{start:#x}",
        "size": size,
        "file": place.symtab.filename if known else None,
        "line": place.line if known and place.line else None,
        "inlined": inlined,
    }


def stack(task, frame):
    """The stack of the task that runs from a frame on, innermost first, and why it ends. `task` is where it is."""
    holder = frame.read_register(task["register"]).cast(gdb.lookup_type(task["structure"]).pointer())
    task = holder[task["field"]].dereference()
    frames, end = [], None
    while frame is not None and len(frames) < DEEPEST_STACK:
        frames.append(describe(frame))
        try:
            older = frame.older()
        except gdb.error as error:
            end = str(error)
            break
        if older is None:
            end = gdb.frame_stop_reason_string(frame.unwind_stop_reason())
        frame = older
    return {"task": text(task["comm"]), "pid": int(task["pid"]), "frames": frames, "end": end}


class Breakpoint(gdb.Breakpoint):
    """Writes a stack at each hit and lets the guest go on."""

    def __init__(self, function, hits, task, stacks, kernel):
        try:
            start = symbol(function)
        except gdb.error as error:
            raise Failed("function", str(error)) from error
        # A hardware breakpoint is QEMU's own: nothing is written to the guest's memory.
        super().__init__(f"*{start:#x}", gdb.BP_HARDWARE_BREAKPOINT, internal=True)
        self.left, self.running, self.stacks, self.kernel, self.fault = hits, task, stacks, kernel, None
        self.write({"break": function, "pc": f"{start:#x}"})

    def stop(self):
        """Called by gdb at each hit; says whether the guest shall stay stopped."""
        try:
            self.kernel.check()
            self.hit()
        except Exception as fault:
            self.fault = fault
            return True
        return self.left == 0

    def hit(self):
        self.write(stack(self.running, gdb.newest_frame()))
        self.left -= 1

    def write(self, value):
        self.stacks.write(json.dumps(value) + "\n")
        self.stacks.flush()


class TracerBreakpoint(Breakpoint):
    """Writes the registers and the stack of the function tracer. Unwinding all of that here would take minutes."""

    def __init__(self, function, hits, task, stacks, kernel, tracer):
        super().__init__(function, hits, task, stacks, kernel)
        self.registers, self.stack_size = tracer["registers"], tracer["stack"]
        self.seen, self.events = {}, 0

    def hit(self):
        frame = gdb.newest_frame()
        self.events += 1
        traced = address(frame.read_var(TRACED))
        self.seen[traced] = self.seen.get(traced, 0) + 1
        if self.seen[traced] > self.left:
            return
        sp = address(frame.read_register("sp"))
        # Stacks are aligned to their size.
        memory = gdb.selected_inferior().read_memory(sp, self.stack_size - sp % self.stack_size)
        registers = [[number, f"{address(frame.read_register(name)):#x}"] for number, name in self.registers]
        self.write({"event": self.events, "pc": f"{address(frame.pc()):#x}", "sp": f"{sp:#x}",
                    "registers": registers, "memory": bytes(memory).hex()})

    def delete(self):
        super().delete()
        self.write({"events": self.events})


def wait_for_end():
    os.read(0, 1)
    gdb.post_event(lambda: gdb.execute("interrupt"))


def record(wanted, stacks, kernel):
    what = wanted["function"], wanted["hits"], wanted["task"], stacks, kernel
    point = Breakpoint(*what) if wanted["tracer"] is None else TracerBreakpoint(*what, wanted["tracer"])
    threading.Thread(target=wait_for_end, daemon=True).start()
    # The breakpoint is in and the guest still stands: nothing can run past it.
    say("armed")
    gdb.execute("continue")
    point.delete()
    if point.fault is not None:
        raise point.fault


def read(kernel):
    for setting in (
        "auto-load off",
        "breakpoint always-inserted on",
        "confirm off",
        "debuginfod enabled off",
        "pagination off",
        # Reading all of a kernel's DWARF takes most of a second; gdb keeps an index of it.
        f"index-cache directory {escaped(kernel['index'])}",
        "index-cache enabled on",
        # What the file holds for good is not asked of the guest: where assembly has no call frame information, gdb
        # looks through its instructions one by one.
        "trust-readonly-sections on",
    ):
        gdb.execute(f"set {setting}")
    gdb.execute("file " + escaped(kernel["vmlinux"]))


def main():
    read(request())
    wanted = request()
    for module in wanted["modules"]:
        sections = " ".join(f"-s {name} {start}" for name, start in module["sections"].items())
        gdb.execute(f"add-symbol-file {escaped(module['path'])} {sections}")
    kernel = Kernel()
    # A socket's name may not be long.
    os.chdir(wanted["folder"])
    gdb.execute("target remote " + wanted["socket"])
    # The guest stands from here on; whatever happens, it has to go on.
    try:
        kernel.check()
        with open(wanted["stacks"], "x", encoding="utf-8") as stacks:
            record(wanted, stacks, kernel)
        kernel.checked()
    finally:
        gdb.execute("detach")


try:
    main()
    say("done")
except Failed as failed:
    say("failed", what=failed.args[0], why=failed.args[1])
except Exception as fault:
    say("failed", what="gdb", why=f"{type(fault).__name__}: {fault}")
# Not by gdb's own way out: a thread still reads standard input, and gdb 13 crashes on that.
os._exit(0)
