# What gdb makes of a guest that stands: one JSON document on standard output. gdb runs this with `-nx -batch -x`, and
# what is wanted comes as JSON in the environment's WITNESS:
#
#   {"vmlinux": PATH, "modules": [{"path": PATH, "sections": {".text": "0xffffffffc0168000"}}], "socket": PATH}
#
# With these two, what comes out is a list: the same for each of so many stops, which the other side shows when it is told
# `monitor NUMBER`. Their stacks lead through the function tracer's trampoline, which has no CFI: where it saves what.
#
#   "stops": 213, "trampoline": {"from": "ftrace_caller", "to": "ftrace_stub", "size": 304, "pc": 248,
#                                "saved": {"ra": 8}, "same": ["s0", "gp"]}
import json
import os

import gdb
from gdb.unwinder import Unwinder, register_unwinder

DEEPEST = 256
OUT = os.dup(1)
os.dup2(2, 1)


def address(value):
    return int(value) & 0xFFFF_FFFF_FFFF_FFFF


def bounds(frame):
    """Start and size of the function that a physical frame is in."""
    try:
        block = frame.block()
    except RuntimeError:
        return None, None
    while block is not None and not block.is_global and not block.is_static:
        outer = block.superblock
        # The block of an inlined function lies in the one of its caller.
        if block.function is not None and (outer is None or outer.is_static or outer.is_global):
            return f"{block.start:#x}", block.end - block.start
        block = outer
    return None, None


def describe(frame):
    inlined = frame.type() == gdb.INLINE_FRAME
    start, size = (None, None) if inlined else bounds(frame)
    place = frame.find_sal()
    known = place.symtab is not None
    return {
        "pc": f"{address(frame.pc()):#x}",
        "function": frame.name(),
        "start": start,
        "size": size,
        "file": place.symtab.filename if known else None,
        "line": place.line if known and place.line else None,
        "inlined": inlined,
    }


def frames():
    frame = gdb.newest_frame()
    while frame is not None:
        # A function that has jumped to the next one, as the DWARF of the call has it, is no longer on the stack.
        if frame.type() != gdb.TAILCALL_FRAME:
            yield describe(frame)
        try:
            frame = frame.older()
        except gdb.error:
            return


class Trampoline(Unwinder):
    """Out of the assembly code that calls the function tracer."""

    def __init__(self, known):
        super().__init__("trampoline")
        self.known = known
        self.code = range(*(address(gdb.parse_and_eval(f"(long)&{known[end]}")) for end in ("from", "to")))

    def __call__(self, pending):
        pc, sp = (pending.read_register(name) for name in ("pc", "sp"))
        if address(pc) not in self.code:
            return None
        saved = lambda offset: (sp + offset).cast(sp.type.pointer()).dereference()
        caller = pending.create_unwind_info(FrameId(sp + self.known["size"], pc))
        caller.add_saved_register("pc", saved(self.known["pc"]))
        caller.add_saved_register("sp", sp + self.known["size"])
        for name, offset in self.known["saved"].items():
            caller.add_saved_register(name, saved(offset))
        for name in self.known["same"]:
            caller.add_saved_register(name, pending.read_register(name))
        return caller


class FrameId:
    def __init__(self, sp, pc):
        self.sp, self.pc = sp, pc


def told():
    return [frame for _, frame in zip(range(DEEPEST), frames())]


def told_at(stop):
    gdb.execute(f"monitor {stop}")
    gdb.execute("maintenance flush register-cache")
    gdb.execute("maintenance flush dcache")
    return told()


wanted = json.loads(os.environ["WITNESS"])
for setting in "auto-load off", "confirm off", "debuginfod enabled off", "pagination off", "remotetimeout 60":
    gdb.execute(f"set {setting}")
gdb.execute("file " + wanted["vmlinux"])
for module in wanted["modules"]:
    sections = " ".join(f"-s {name} {start}" for name, start in module["sections"].items())
    gdb.execute(f"add-symbol-file {module['path']} {sections}")
gdb.execute("target remote " + wanted["socket"])
if "stops" in wanted:
    # What was copied is the stack.
    gdb.execute("set trust-readonly-sections on")
    register_unwinder(None, Trampoline(wanted["trampoline"]))
    all_told = [told_at(stop) for stop in range(wanted["stops"])]
else:
    all_told = told()
gdb.execute("detach")
with os.fdopen(OUT, "w") as out:
    json.dump(all_told, out)
