"""The opcodes of pickles: what each reads, by the standard library's `pickletools`, and what the machine then does.

Opcodes that are missing here are refused: frozen sets, instances by INST and OBJ, the extension registry, persistent
ids in text, and buffers outside of the file. Sets are refused unless a reader allows "builtins.set".
"""

import codecs
import pickletools
import re
from collections.abc import Callable
from typing import Any

from stylegan_jax.weights.files.pickle_machine import Clipped, Machine, Refusal


def run(machine: Machine) -> Any:
    """Returns the value of the pickle where the machine's file stands, and leaves the file right behind it.

    Raises:
        Refusal: the pickle wants what no network needs.
        Exception: the pickle is damaged; any type.
    """
    while (code := machine.file.read(1)) != b".":
        if code not in _OPCODES:
            known = {opcode.code: opcode.name for opcode in pickletools.opcodes}.get(code.decode("latin1"))
            what = f"the opcode {known}" if known else f"{code!r}, which is no opcode"
            raise Refusal(f"is no network's pickle: at byte {machine.file.position - 1} it has {what}.")
        machine.count_opcode()
        read_fn, action_fn = _OPCODES[code]
        action_fn(machine, read_fn(machine.file) if read_fn else None)
    return machine.result()


def _string(file: Clipped) -> str:
    """Returns Python 2's repr of a str, undone. `pickletools` reads ASCII only, and warns of unknown escapes."""
    text = file.readline(file.size)[:-1].strip()
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[:1] != text[-1:]:
        raise Refusal(f"is damaged: the text that ends at byte {file.position} has no quotes.")
    if b"\\" in re.sub(rb"\\(?:[\\'\"abfnrtv]|x[0-9a-fA-F]{2})", b"", text[1:-1]):
        raise Refusal(f"is damaged: the text that ends at byte {file.position} has an unknown escape.")
    return codecs.escape_decode(text[1:-1])[0].decode("latin1")


def _unicode(file: Clipped) -> str:
    return str(file.readline(file.size)[:-1], "raw-unicode-escape")


def _global(file: Clipped) -> str:
    module = file.readline()[:-1]
    return f"{module.decode()}.{file.readline()[:-1].decode()}"


def _empty_set(machine: Machine) -> Any:
    if "builtins.set" not in machine.allowed:
        raise Refusal("is no network's pickle: it holds a set.")
    return machine.allowed["builtins.set"]()


def _pushes(value: Any) -> tuple:
    return None, lambda machine, _: machine.push(value)


# Reader of the argument, and what the machine does with it. Bytearrays are read as bytes, which nothing can change.
_ACTIONS: dict[str, tuple[Callable[[Any], Any] | None, Callable[[Machine, Any], Any]]] = {
    "PROTO": (pickletools.read_uint1, Machine.check_protocol),
    "FRAME": (pickletools.read_uint8, lambda machine, _: None),
    "NONE": _pushes(None),
    "NEWTRUE": _pushes(True),
    "NEWFALSE": _pushes(False),
    "EMPTY_TUPLE": _pushes(()),
    "EMPTY_LIST": (None, lambda machine, _: machine.push([])),
    "EMPTY_DICT": (None, lambda machine, _: machine.push({})),
    "EMPTY_SET": (None, lambda machine, _: machine.push(_empty_set(machine))),
    "INT": (pickletools.read_decimalnl_short, Machine.push_int),
    "BININT": (pickletools.read_int4, Machine.push),
    "BININT1": (pickletools.read_uint1, Machine.push),
    "BININT2": (pickletools.read_uint2, Machine.push),
    "LONG": (pickletools.read_decimalnl_long, Machine.push_int),
    "LONG1": (pickletools.read_long1, Machine.push_int),
    "LONG4": (pickletools.read_long4, Machine.push_int),
    "FLOAT": (pickletools.read_floatnl, Machine.push),
    "BINFLOAT": (pickletools.read_float8, Machine.push),
    "STRING": (_string, Machine.push),
    "SHORT_BINSTRING": (pickletools.read_string1, Machine.push),
    "BINSTRING": (pickletools.read_string4, Machine.push),
    "UNICODE": (_unicode, Machine.push),
    "SHORT_BINUNICODE": (pickletools.read_unicodestring1, Machine.push),
    "BINUNICODE": (pickletools.read_unicodestring4, Machine.push),
    "BINUNICODE8": (pickletools.read_unicodestring8, Machine.push),
    "SHORT_BINBYTES": (pickletools.read_bytes1, Machine.push),
    "BINBYTES": (pickletools.read_bytes4, Machine.push),
    "BINBYTES8": (pickletools.read_bytes8, Machine.push),
    "BYTEARRAY8": (pickletools.read_bytes8, Machine.push),
    "MARK": (None, Machine.mark),
    "POP": (None, Machine.pop),
    "POP_MARK": (None, Machine.pop_mark),
    "DUP": (None, lambda machine, _: machine.push(machine.stack[-1])),
    "TUPLE1": (None, lambda machine, _: machine.push_tuple(1)),
    "TUPLE2": (None, lambda machine, _: machine.push_tuple(2)),
    "TUPLE3": (None, lambda machine, _: machine.push_tuple(3)),
    "TUPLE": (None, lambda machine, _: machine.push(tuple(machine.pop_mark()))),
    "LIST": (None, lambda machine, _: machine.push(machine.pop_mark())),
    "DICT": (None, Machine.push_dict),
    "APPEND": (None, lambda machine, _: machine.append([machine.stack.pop()])),
    "APPENDS": (None, lambda machine, _: machine.append(machine.pop_mark())),
    "ADDITEMS": (None, lambda machine, _: machine.append(machine.pop_mark())),
    "SETITEM": (None, lambda machine, _: machine.set_items([machine.stack.pop(-2), machine.stack.pop()])),
    "SETITEMS": (None, lambda machine, _: machine.set_items(machine.pop_mark())),
    "PUT": (pickletools.read_decimalnl_short, Machine.put),
    "BINPUT": (pickletools.read_uint1, Machine.put),
    "LONG_BINPUT": (pickletools.read_uint4, Machine.put),
    "MEMOIZE": (None, lambda machine, _: machine.put(len(machine.memo))),
    "GET": (pickletools.read_decimalnl_short, Machine.get),
    "BINGET": (pickletools.read_uint1, Machine.get),
    "LONG_BINGET": (pickletools.read_uint4, Machine.get),
    "GLOBAL": (_global, Machine.push_global),
    "STACK_GLOBAL": (None, Machine.stack_global),
    "REDUCE": (None, Machine.call),
    "NEWOBJ": (None, Machine.call),
    "BUILD": (None, Machine.build),
    "BINPERSID": (None, Machine.push_persistent),
}
_OPCODES = {
    opcode.code.encode("latin1"): _ACTIONS[opcode.name] for opcode in pickletools.opcodes if opcode.name in _ACTIONS
}
