"""An inert pickle machine: a stack and a memo of plain values, with a limit on everything a file could make large."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from stylegan_jax.runs.text import printable

MAX_OPCODES = 2**20  # Of one pickle; that of three networks of 1024x1024 has some thousands.
MAX_MARKS = 1000  # Open MARKs.
MAX_DEPTH = 100  # Levels of what is returned.
MAX_NODES = 2**20  # Nodes of what is returned, as a tree.
MAX_INT_BITS = 512
MAX_LINE_BYTES = 1000  # Of a number or a name in text.
SPARE_BYTES = 2**20  # What all calls of a pickle may read beyond twice the size of its file.


class Refusal(ValueError):
    """Why a file is refused: the rest of a sentence that begins with the file's name."""


@dataclasses.dataclass(frozen=True)
class Global:
    """The name of a class or function, "module.name", which stands for itself alone."""

    name: str


@dataclasses.dataclass
class Record:
    """Inert stand-in for an instance of the class "module.name", or for a call of such a function.

    Attributes:
        name: "module.name".
        args: arguments of the call that made it.
        state: what the instance was given to restore itself from.
    """

    name: str
    args: tuple = ()
    state: Any = None


@dataclasses.dataclass(frozen=True)
class Persistent:
    """A persistent id to be written: what the value is called outside of the pickle."""

    key: tuple


@dataclasses.dataclass
class Pending:
    """A value that is complete only with the state that follows it in the file.

    Attributes:
        build_fn: returns the value for a state.
        memo_indices: where the memo holds it.
    """

    build_fn: Callable[[Any], Any]
    memo_indices: list[int] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def sentences(name: Any) -> Iterator[None]:
    """Turns whatever a damaged or hostile file leads to into one ValueError, a sentence that begins with its name."""
    try:
        yield
    except Refusal as refusal:
        raise ValueError(f"{name} {refusal}") from None
    except Exception as error:
        reason = shown(str(error) or type(error).__name__)
        raise ValueError(f"{name} is damaged, cut short or not of the format it seems to be ({reason}).") from None


def shown(text: str) -> str:
    """Returns a text from a file as it may stand in a message: short and printable."""
    return printable(text) if len(text) <= 100 else f"{printable(text[:100])}..."


def set_item(target: dict, key: Any, value: Any) -> None:
    # Tuples take exponential time to hash where they hold one another. Many longer ints can share one hash.
    if type(key) is not str and not (type(key) is int and abs(key) < 2**63):
        raise Refusal(f"has a dict with a key of type {type(key).__name__}, where networks have a str or a small int.")
    target[key] = value


class Clipped:
    """A file whose reads never ask for more than is left of it: Python would allocate first and read later."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = file.tell()
        self.size = file.seek(0, 2)
        file.seek(self.position)

    def read(self, num_bytes: int) -> bytes:
        left = self.size - self.position
        if num_bytes > left:
            raise Refusal(f"is cut short: {left} of {num_bytes} bytes are left at byte {self.position}.")
        data = self.file.read(num_bytes)
        self.position += len(data)
        return data

    def readline(self, max_bytes: int = MAX_LINE_BYTES) -> bytes:
        line = self.file.readline(max_bytes)
        self.position += len(line)
        if not line.endswith(b"\n"):
            raise Refusal(f"is cut short or damaged: the line that ends at byte {self.position} has no end.")
        return line


class Machine:
    """The stack and the memo of a pickle. Opcodes and their order: the standard library's Lib/pickle.py."""

    def __init__(self, file: Clipped, allowed: Mapping[str, Callable], persistent_fn: Callable | None) -> None:
        self.file = file
        self.allowed = allowed
        self.persistent_fn = persistent_fn
        self.stack: list = []
        self.below: list[list] = []  # The stack under each open MARK.
        self.memo: dict[int, Any] = {}
        self.num_opcodes = 0
        # What calls may still read: many calls can share one long argument, and many arrays can share their data.
        self.budget = 2 * file.size + SPARE_BYTES

    def count_opcode(self) -> None:
        self.num_opcodes += 1
        if self.num_opcodes > MAX_OPCODES:
            raise Refusal(f"has more than {MAX_OPCODES} opcodes, which no network's pickle has.")

    def result(self) -> Any:
        if self.below or len(self.stack) != 1:
            raise Refusal("is damaged: it ends with more or less than one value.")
        check_tree(self.stack[0])
        return self.stack[0]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_int(self, value: int) -> None:
        if value.bit_length() > MAX_INT_BITS:
            raise Refusal(f"has an integer of {value.bit_length()} bits, where networks have at most {MAX_INT_BITS}.")
        self.stack.append(value)

    def mark(self, _: None) -> None:
        if len(self.below) >= MAX_MARKS:
            raise Refusal(f"has values nested more than {MAX_MARKS} deep, which no network has.")
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self, _: None = None) -> list:
        values = self.stack
        self.stack = self.below.pop()
        return values

    def pop(self, _: None) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def push_tuple(self, length: int) -> None:
        if length > len(self.stack):
            raise Refusal("is damaged: it makes a tuple of more values than there are.")
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def append(self, values: list) -> None:
        if type(self.stack[-1]) is not list:
            raise Refusal(f"is damaged: it appends to a {type(self.stack[-1]).__name__}.")
        self.stack[-1].extend(values)

    def set_items(self, keys_and_values: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise Refusal(f"is damaged: it sets items of a {type(target).__name__}.")
        for key, value in zip(keys_and_values[::2], keys_and_values[1::2], strict=True):
            set_item(target, key, value)

    def push_dict(self, _: None) -> None:
        keys_and_values = self.pop_mark()
        self.stack.append({})
        self.set_items(keys_and_values)

    def put(self, index: int) -> None:
        if not 0 <= index <= self.num_opcodes:  # A writer counts its values.
            raise Refusal(f"is damaged: it numbers a value {index} after {self.num_opcodes} opcodes.")
        value = self.memo[index] = self.stack[-1]
        if isinstance(value, Pending):
            value.memo_indices.append(index)

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise Refusal(f"is damaged: it refers to its value {index}, which it has not yet numbered.")
        self.stack.append(self.memo[index])

    def push_global(self, name: str) -> None:
        try:
            self.allowed[name]
        except KeyError:
            raise Refusal(
                f"wants to call {shown(name)}, which is no part of a network: "
                "nothing was executed, and the file is refused."
            ) from None
        self.stack.append(Global(name))

    def stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise Refusal("is damaged: it names a class by something else than text.")
        self.push_global(f"{module}.{name}")

    def call(self, _: None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(args) is not tuple:
            raise Refusal("is damaged: it calls what is no function, or without a tuple of arguments.")
        self.charge(len(args))
        self.charge(sum(len(arg) for arg in args if isinstance(arg, str | bytes | list | tuple | dict)))
        self.stack.append(self.allowed[function.name](*args))

    def charge(self, num_bytes: int) -> None:
        self.budget -= num_bytes
        if self.budget < 0:
            raise Refusal("makes more than twice its size of its contents, which no network's pickle does.")

    def build(self, _: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Pending):
            value = self.stack[-1] = target.build_fn(state)
            self.charge(getattr(value, "nbytes", 0))
            for index in target.memo_indices:
                self.memo[index] = value
            target.memo_indices.clear()  # Copies of the target may be built too, each in constant time.
        elif isinstance(target, Record):
            target.state = state
        elif type(target) is not dict or type(state) is not dict or not state.keys() <= {"_metadata"}:
            # PyTorch gives its state dicts an attribute `_metadata`, the versions of modules, which nothing here needs.
            raise Refusal(f"is damaged: it gives a state to a {type(target).__name__}.")

    def push_persistent(self, _: None) -> None:
        persistent_id = self.stack.pop()
        if self.persistent_fn is None or type(persistent_id) is not tuple:
            raise Refusal(
                "refers to something outside of itself by a persistent id, which no network's pickle does here."
            )
        self.stack.append(self.persistent_fn(persistent_id))

    def check_protocol(self, protocol: int) -> None:
        if protocol > 5:
            raise Refusal(f"is a pickle of protocol {protocol}, where 0 to 5 are known.")


def check_tree(root: Any) -> None:
    """Refuses a value through which no recursive function could walk: cycles, deep nesting, and exponential sharing."""
    measured: dict[int, tuple[int, int]] = {}  # Depth and number of nodes of each finished container.
    path: set[int] = set()  # The containers around the current one.
    todo = [(root, False)]
    while todo:
        node, is_left = todo.pop()
        if id(node) in measured or not (parts := _parts(node)):
            continue
        if not is_left:
            if id(node) in path:
                raise Refusal("holds a value that contains itself, which no network does.")
            path.add(id(node))
            todo.append((node, True))
            todo.extend((part, False) for part in parts)
            depth, num_nodes = len(path), len(parts)
        else:
            path.remove(id(node))
            sizes = [measured.get(id(part), (1, 1)) for part in parts]
            depth, num_nodes = measured[id(node)] = (
                1 + max(size[0] for size in sizes),
                1 + sum(size[1] for size in sizes),
            )
        if depth > MAX_DEPTH:
            raise Refusal(f"holds values nested more than {MAX_DEPTH} deep, which no network does.")
        if num_nodes > MAX_NODES:
            raise Refusal(f"holds more than {MAX_NODES} values, as shared ones count each time, which no network does.")


def _parts(node: Any) -> list:
    if isinstance(node, Pending):
        raise Refusal("is damaged: it has an array without data.")
    if isinstance(node, dict):
        return list(node.values())
    if isinstance(node, Record):
        return [node.args, node.state]
    return list(node) if isinstance(node, list | tuple) else []
