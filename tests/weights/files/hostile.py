"""Builders of hostile files: pickles, and trees for the files of PyTorch."""

import pathlib
import struct
from collections.abc import Callable
from typing import Any

from stylegan_jax.weights.files.pickle_machine import Global, Persistent, Record

MANY = 10**6


def text(value: str) -> bytes:
    """Returns the opcode BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(name: str, *args: bytes) -> bytes:
    """Returns a pickle that calls `name` with arguments given as opcodes."""
    module, _, last = name.rpartition(".")
    return b"\x80\x02" + f"c{module}\n{last}\n".encode() + b"(" + b"".join(args) + b"tR."


def stack_call(module: str, name: str, *args: bytes) -> bytes:
    """Returns a pickle of protocol 4 that calls a function whose name may have dots."""
    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + b"".join(args) + b"tR."


def calls(canary: pathlib.Path) -> dict[str, bytes]:
    """Returns pickles each of which would make the file `canary`, or begin to, if anything were executed."""
    command, code = text(f"touch {canary}"), text(f"open({str(canary)!r}, 'w')")
    cases = {f"{name} runs a command": call(name, command) for name in ("os.system", "posix.system", "nt.system")}
    names = ("builtins.eval", "builtins.exec", "__builtin__.eval", "builtins.compile")
    cases |= {f"{name} runs code": call(name, code) for name in names}
    names = (
        "builtins.getattr",
        "builtins.__import__",
        "importlib.import_module",
        "operator.attrgetter",
        "webbrowser.open",
    )
    cases |= {f"{name} reaches on": call(name, text("os"), text("system")) for name in names}
    names = (
        "functools.partial",
        "types.FunctionType",
        "types.CodeType",
        "copyreg._reconstructor",
        "copy_reg.constructor",
    )
    cases |= {f"{name} makes a function": call(name, b"N") for name in names}
    names = (
        "numpy.load",
        "numpy.core.multiarray.fromfile",
        "numpy.testing._private.utils.runstring",
        "numpy.f2py.compile",
    )
    cases |= {f"{name} is NumPy's": call(name, command) for name in names}
    names = ("torch.storage._load_from_bytes", "torch.hub.load", "torch.load", "torch._utils._rebuild_sparse_tensor")
    cases |= {f"{name} is PyTorch's": call(name, command) for name in names}
    chains = (
        ("numpy", "ndarray.__class__"),
        ("numpy", "ndarray.tofile"),
        ("os", "system"),
        ("", "os.system"),
        ("builtins", "getattr.__call__"),
        ("torch", "FloatStorage.from_file"),
        ("collections", "OrderedDict.__init__"),
    )
    cases |= {f"{module}.{name} by the stack": stack_call(module, name, command) for module, name in chains}
    cases["a class is made and given a state"] = b"\x80\x02cos\nsystem\n)\x81}b."
    cases["a name is no text"] = b"\x80\x04K\x01K\x02\x93."
    cases["INST makes an instance"] = b"(" + command + b"ios\nsystem\n."
    cases["OBJ makes an instance"] = b"(cos\nsystem\n" + command + b"o."
    cases["a lambda by its code"] = call("types.FunctionType", call("types.CodeType", b"K\x00")[2:-1], b"}")
    cases["an extension of one byte"] = b"\x80\x02\x82\x01."
    cases["an extension of two bytes"] = b"\x80\x02\x83\x01\x00."
    cases["an extension of four bytes"] = b"\x80\x02\x84\x01\x00\x00\x00."
    cases["a persistent id in text"] = b"Pos.system\n."
    cases["a persistent id of no tuple"] = b"\x80\x02" + command + b"Q."
    cases["a persistent id of a strange tuple"] = b"\x80\x02(" + command + b"K\x01tQ."
    cases["a persistent id of lists"] = b"\x80\x02(]]]]]tQ."
    return cases | _object_arrays(command)


def _object_arrays(command: bytes) -> dict[str, bytes]:
    reduce = call("os.system", command)[2:-1]
    empty = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
    return {
        "an array of objects": empty + b"(K\x01(K\x01t" + dtype + b"\x89]" + reduce + b"atb.",
        "an array of objects, called first": empty + b"(K\x01(K\x01t" + reduce + dtype + b"\x89]Natb.",
        "an array of structures": empty + b"(K\x01(K\x01t" + dtype.replace(b"O8", b"V8") + b"\x89]Natb.",
        "an array of a subclass": empty.replace(b"cnumpy\nndarray", b"cnumpy\nmemmap") + b".",
        "an array without data": empty + b".",
        "an array given a state twice": b"\x80\x02(" + array_opcodes() + b"}bt.",
    }


def array_opcodes(
    shape: bytes = b"K\x02K\x03", data: bytes = bytes(24), code: bytes = b"f4", order: bytes = b"<"
) -> bytes:
    """Returns the opcodes of an array as Python 2 wrote them, where its data are a str."""
    dtype = (
        b"cnumpy\ndtype\n(U\x02"
        + code
        + b"K\x00K\x01tR(K\x03U\x01"
        + order
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    string = b"T" + struct.pack("<i", len(data)) + data
    begin = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    return begin + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + string + b"tb"


def too_large() -> dict[str, bytes]:
    """Returns pickles that claim, refer to or nest more than they have."""
    cases = {}
    for code, size in ((b"T", 4), (b"X", 4), (b"B", 4), (b"\x8b", 4), (b"\x8d", 8), (b"\x8e", 8), (b"\x96", 8)):
        for length in (2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1):
            if length < 2 ** (8 * size):
                cases[f"{code!r} of {length} bytes"] = b"\x80\x05" + code + length.to_bytes(size, "little") + b"abc."
    cases |= {f"{code!r} is short": b"\x80\x04" + code + b"\xffabc." for code in (b"U", b"C", b"\x8c", b"\x8a")}
    cases["a frame of 2**62 bytes without end"] = b"\x80\x04\x95" + struct.pack("<Q", 2**62)
    cases["an integer of a million digits"] = b"I" + b"9" * MANY + b"\n."
    cases["a long of a million digits"] = b"L" + b"9" * MANY + b"L\n."
    cases["a float of a million digits"] = b"F" + b"9" * MANY + b"\n."
    cases["a long of a million bytes"] = b"\x80\x02\x8b" + struct.pack("<i", MANY) + b"\x7f" * MANY + b"."
    cases["a memo index of 2**32 - 1"] = b"\x80\x02Nr\xff\xff\xff\xff."
    cases["a memo index of 10**30"] = b"Np1" + b"0" * 30 + b"\n."
    cases["a memo index below zero"] = b"Np-1\n."
    cases["a reference to nothing"] = b"\x80\x02h\x05."
    cases["an array of 2**60 numbers"] = array_opcodes(shape=b"\x8a\x08" + struct.pack("<q", 2**60)) + b"."
    cases["an array of a size below zero"] = array_opcodes(shape=b"J\xfa\xff\xff\xffJ\xff\xff\xff\xff") + b"."
    cases["an array of 33 axes"] = b"\x80\x02" + array_opcodes(shape=b"K\x01" * 33, data=bytes(4)) + b"."
    cases["a million marks"] = b"\x80\x02" + b"(" * MANY + b"N."
    cases["a million lists"] = b"\x80\x02" + b"]" * (MANY // 2) + b"a" * (MANY // 2 - 1) + b"."
    cases["a million tuples"] = b"\x80\x02)" + b"\x85" * MANY + b"."
    cases["half a million dicts"] = b"\x80\x02" + b"}K\x01" * (MANY // 4) + b"N" + b"s" * (MANY // 4) + b"."
    cases["two million opcodes"] = b"\x80\x02N" + b"N0" * MANY + b"."
    cases["two million values"] = b"\x80\x02(" + b"N" * 2 * MANY + b"l."
    return cases | _shared()


def _shared() -> dict[str, bytes]:
    many_integers = b"".join(b"\x8a\x10" + (k * (2**61 - 1)).to_bytes(16, "little") + b"N" for k in range(9, 3000))
    encode = b"c_codecs\nencode\n(h\x01U\x06latin1tR"
    array = array_opcodes(shape=b"M\x00\x40", data=bytes(2**16)).replace(b"tb", b"tb", 1)
    data = b"T" + struct.pack("<i", 2**16) + bytes(2**16)
    assert data in array
    return {
        "lists that double": b"\x80\x02]q\x00" + b"0(h\x00h\x00lq\x00" * 60 + b".",
        "tuples that double": b"\x80\x02)q\x00" + b"0(h\x00h\x00tq\x00" * 60 + b".",
        "dicts that double": b"\x80\x02}q\x00" + b"0(K\x01h\x00K\x02h\x00dq\x00" * 60 + b".",
        "lists of ten": b"\x80\x02]q\x00" + (b"0(" + b"h\x00" * 10 + b"lq\x00") * 20 + b".",
        "an array type that doubles": b"\x80\x02cnumpy\ndtype\n]q\x00" + b"0(h\x00h\x00lq\x00" * 60 + b"\x85R.",
        "a dict of a text": b"\x80\x02ccollections\nOrderedDict\n" + text("abcd") + b"\x85R.",
        "keys that double": b"\x80\x02)q\x00" + b"0h\x00h\x00\x86q\x00" * 60 + b"}h\x00Ns.",
        "keys of one hash": b"\x80\x02}(" + many_integers + b"u.",
        "a list in itself": b"\x80\x02]q\x00h\x00a.",
        "a dict in itself": b"\x80\x02}q\x00K\x01h\x00s.",
        "a tuple in its list": b"\x80\x02]q\x00h\x00\x85aN0.",
        "a key that is a list": b"\x80\x02}]Ns.",
        "a key that is None": b"\x80\x02}NNs.",
        "a key that is a float": b"\x80\x02}G" + bytes(8) + b"Ns.",
        "a record in itself": b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81q\x00h\x00b.",
        "arguments shared by a thousand records": b"\x80\x02("
        + b"N" * 5000
        + b"tq\x00"
        + b"cdnnlib.tflib.network\nNetwork\nh\x00\x810" * 1000
        + b".",
        "a set": b"\x80\x04\x8f.",
        "a frozen set": b"\x80\x04(\x91.",
        "a buffer outside of the file": b"\x80\x05\x97.",
        "a read-only buffer": b"\x80\x05N\x98.",
        "a text encoded a thousand times": b"\x80\x02" + text("a" * 2**16) + b"q\x010(" + encode * 1000 + b"t.",
        "data shared by a thousand arrays": b"\x80\x02"
        + data
        + b"q\x010("
        + array.replace(data, b"h\x01") * 1000
        + b"t.",
        "a list copied a thousand times": b"\x80\x02("
        + b"K\x01K\x02\x86" * 2**12
        + b"lq\x010("
        + b"ccollections\nOrderedDict\nh\x01\x85R" * 1000
        + b"t.",
    }


def garbage() -> dict[str, bytes]:
    """Returns pickles that are damaged in ways of their own."""
    bodies = {
        "nothing": b"",
        "only STOP": b".",
        "no value": b"\x80\x02.",
        "two values": b"\x80\x02NN.",
        "an open mark": b"\x80\x02N(N.",
        "protocol 6": b"\x80\x06N.",
        "protocol 255": b"\x80\xffN.",
        "zeros": bytes(99),
        "an unknown opcode": b"\x80\x04\xffN.",
        "a value appended to nothing": b"\x80\x02Na.",
        "a value appended to None": b"\x80\x02NNa.",
        "POP of nothing": b"0.",
        "a tuple of more values than there are": b"\x80\x02N\x86.",
        "a dict made of a dict": b"\x80\x02ccollections\nOrderedDict\n}" + text("ab") + b"Ns\x85R.",
        "a string of two quotes": b"S'a\"\n.",
        "a mark that is missing": b"\x80\x02t.",
        "an odd number of keys and values": b"\x80\x02}(K\x01u.",
        "an item set in a list": b"\x80\x02]K\x01Ns.",
        "a call of a text": b"\x80\x02" + text("os.system") + b")R.",
        "a call without a tuple": b"\x80\x02c_codecs\nencode\nNR.",
        "a state for None": b"\x80\x02NNb.",
        "a call with too many arguments": call("_codecs.encode", b"N", b"N", b"N"),
        "text that is no UTF-8": b"\x80\x02X\1\0\0\0\xff.",
        "a name that is no UTF-8": b"c\xff\n\xff\n.",
        "a string without quotes": b"Sab\n.",
        "a string with half a quote": b"S'\n.",
        "a string of unknown escapes": b"S'\\d\\q'\n.",
        "a string that ends in its escape": b"S'\\'\n.",
        "an integer of letters": b"Iab\n.",
        "a float of letters": b"Fab\n.",
        "a line without an end": b"Iab",
        "half a name": b"cos\n",
        "bad unicode": b"V\\ud8\n.",
        "an encoding that is none": call("_codecs.encode", text("a"), text("rot13")),
        "text beyond Latin-1": call("_codecs.encode", text("\u4e00"), text("latin1")),
        "a type that is none": call("numpy.dtype", text("f4,f4"), b"K\x00K\x01"),
        "a call of ndarray": call("numpy.ndarray", b"K\x01\x85"),
    }
    array = b"\x80\x02" + array_opcodes() + b"."
    changes = {
        "a byte order that is none": (b"U\x01<", b"U\x01q"),
        "an array with data left": (b"K\x02K\x03", b"K\x02K\x02"),
        "an array of another type": (b"cnumpy\nndarray", b"cnumpy\ndtype"),
        "a type with fields": (b"<NNN", b"<NN)"),
        "a type of texts": (b"f4", b"S4"),
        "a type of complex numbers": (b"f4", b"c8"),
    }
    bodies |= {name: array.replace(*change) for name, change in changes.items()}
    assert all(bodies[name] != array for name in changes)
    return bodies


def torch_trees(storage: Persistent, make_tensor: Callable[..., Record]) -> dict[str, Any]:
    """Returns trees whose tensors do not fit the storage of 6 numbers, or that hold what is no tensor.

    Args:
        storage: the storage as the format has it.
        make_tensor: `tensor` or `legacy_tensor`.
    """
    fields, typed = storage.key, lambda name: Persistent(("storage", Global(name), *storage.key[2:]))
    trees = {
        "a tensor that begins behind its storage": make_tensor(offset=6, shape=(1,), strides=(1,)),
        "an offset below zero": make_tensor(offset=-1),
        "an offset that is no integer": make_tensor(offset=0.0),
        "an offset of 2**62": make_tensor(offset=2**62),
        "a stride below zero": make_tensor(strides=(-3, 1)),
        "a stride that leads out": make_tensor(strides=(4, 1)),
        "a stride of 2**62": make_tensor(strides=(2**62, 1)),
        "a shape larger than its storage": make_tensor(shape=(10**6, 10**6), strides=(0, 0)),
        "a shape a little larger than its storage": make_tensor(shape=(2, 4), strides=(0, 1)),
        "a size below zero": make_tensor(shape=(-2, 3)),
        "a size that is true": make_tensor(shape=(True, 3)),
        "a shape of text": make_tensor(shape="ab"),
        "a shape that is a list": make_tensor(shape=[2, 3]),
        "fewer strides than sizes": make_tensor(strides=(1,)),
        "33 axes": make_tensor(shape=(1,) * 33, strides=(1,) * 33),
        "a tensor of no storage": make_tensor(storage="0"),
        "a tensor of a tensor": make_tensor(storage=make_tensor()),
        "a storage by itself": storage,
        "a type by itself": Global("torch.FloatStorage"),
        "a type that is called": Record("torch.FloatStorage", (3,)),
        "a size of None": Record("torch.Size", (None,)),
        "a persistent id of one field": Persistent(("storage",)),
        "a persistent id without a field": Persistent(()),
        "a persistent id of another kind": make_tensor(Persistent(("module", *fields[1:]))),
        "a storage type that is a text": Persistent(("storage", "torch.FloatStorage", *fields[2:])),
        "a storage type that is a function": typed("torch.Size"),
        "a storage key that is a list": Persistent(("storage", fields[1], [], *fields[3:])),
        "a storage key that leads elsewhere": Persistent(("storage", fields[1], "../../secret", *fields[3:])),
        "a storage length below zero": Persistent((*fields[:4], -6, *fields[5:])),
        "a storage length of 2**62": Persistent((*fields[:4], 2**62, *fields[5:])),
        "a storage length that is a float": Persistent((*fields[:4], 6.0, *fields[5:])),
        "a storage that is too short": make_tensor(typed("torch.DoubleStorage")),
        "a storage of two types": [make_tensor(), make_tensor(typed("torch.IntStorage"))],
        "a storage that is missing": make_tensor(Persistent((*fields[:2], "1", *fields[3:]))),
        "a module": Record("torch.nn.modules.linear.Linear", (), {"training": True}),
        "a class of __torch__ where there is no TorchScript": Record("__torch__.Net", (), {"weight": make_tensor()}),
    }
    return {name: {"tensor": tree} for name, tree in trees.items()}
