"""The conversation as the model is told of it, and what its last message says is next.

It grows at its end only. What was made ready to be sent stays ready, so a process that goes on with a long conversation
prepares the new messages and not all of them again. Where its beginning was compacted, it begins with what stands for it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Set
from dataclasses import field
from enum import Enum, auto
from itertools import takewhile
from threading import Lock

from core.content import Block, Blocks, Compaction, Message, says_something
from core.gallery import LEFT_OUT, Gallery, is_image
from core.ids import DeviceId, SessionId
from core.store.holds import Remembered
from core.values import dataclass


class Next(Enum):
    """The last stored message is the program counter."""

    ASK = auto()  # the model: somebody said something, tools have answered, or it paused
    SETTLE = auto()  # the tool calls that it asked for
    OVER = auto()  # it has answered


# The model stopped in the middle, and goes on when it is sent the same again.
PAUSES = ("pause_turn", "compaction")


# What an image counts in tokens, however many bytes it has.
_IMAGE_TOKENS = 1_600
# Bytes of JSON text that make a token: few, so that the estimate is rather too high.
TOKEN_BYTES = 3


def tokens_of(message: Message) -> int:
    """An estimate, without asking anybody."""
    images = [block for block in _parts(message.content) if block.get("type") == "image"]
    pixels = sum(len(image.get("source", {}).get("data", "")) for image in images)
    return (message.stored_size - pixels) // TOKEN_BYTES + _IMAGE_TOKENS * len(images)


def _parts(blocks: Blocks) -> Iterator[Block]:
    for block in blocks:
        yield block
        if block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            yield from block["content"]


class Conversation:
    def __init__(self, messages: Iterable[Message] = (), compaction: Compaction | None = None) -> None:
        self.compaction = compaction
        self._messages: list[Message] = []
        self.has_tools = False
        self.tokens = 0
        self.size = 0
        self._gallery = Gallery()
        # By prefix digest: what may be sent behind that prefix.
        self._ready: dict[str, _Ready] = {}
        if compaction is not None:
            self.add(compaction.as_message())
        self.add(*messages)

    def add(self, *messages: Message) -> None:
        self._messages.extend(messages)
        before = self.images_left_out
        for message in messages:
            self.size += message.stored_size
            if _is_text(message):
                self.tokens += message.stored_size // TOKEN_BYTES
            else:
                self.tokens += tokens_of(message)
                self.has_tools = self.has_tools or _has_tools(message)
                self._gallery.add(message)
        if self.images_left_out > before:
            self._ready.clear()

    def until(self, place: int) -> "Conversation":
        """Its beginning, with what stands for what was before, as one of its own."""
        return Conversation(self.messages[:place], self.compaction)

    def since(self, place: int, compaction: Compaction) -> "Conversation":
        """The same, told with a compaction for everything before."""
        return Conversation(self.messages[place:], compaction)

    @property
    def messages(self) -> list[Message]:
        """Without what stands for those before them."""
        return self._messages if self.compaction is None else self._messages[1:]

    @property
    def images_left_out(self) -> int:
        """How many images from the beginning on the model is no longer shown. Thinking made before is not valid after."""
        return self._gallery.left_out

    @property
    def last(self) -> Message:
        return self._messages[-1]

    def __len__(self) -> int:
        return len(self._messages)

    def next(self) -> Next:
        if self.last.role == "user" or self.last.stop_reason in PAUSES:
            return Next.ASK
        return Next.SETTLE if self.last.tool_calls else Next.OVER

    def said_in(self, first_seq: int) -> Blocks:
        """The last of what the model said since that message."""
        return next((m.content for m in self._since(first_seq) if m.role == "assistant"), [])

    def calls_of(self, tool: str, first_seq: int) -> int:
        """How often the model has called it since that message."""
        return sum(call["name"] == tool for message in self._since(first_seq) for call in message.tool_calls)

    def _since(self, first_seq: int) -> Iterator[Message]:
        """From the last one back."""
        return takewhile(lambda message: message.seq >= first_seq, reversed(self._messages))

    def new_images_from(self) -> int | None:
        """The first message with an image that the model has not answered to; None: it has seen them all."""
        found = None
        for message in reversed(self._messages):
            if message.role == "assistant":
                break
            if any(map(is_image, message.content)):
                found = message.seq
        return found

    def ready(self, prefix_digest: str, servers: Set[str] = frozenset()) -> list[Block]:
        """The messages as they may be sent behind a prefix: thinking that was made behind another is left out, and so are
        the calls of MCP servers that it does not name, and the oldest of many images.
        """
        ready = self._ready.setdefault(prefix_digest, _Ready(servers))
        for message in self._messages[ready.done :]:
            same_prefix = message.prefix_digest == prefix_digest
            ready.add(message, same_prefix=same_prefix, images_left_out=self.images_left_out)
        return list(ready.messages)


def _is_text(message: Message) -> bool:
    for block in message.content:  # noqa: SIM110 - a generator takes three times as long, for each of hundreds
        if block.get("type") != "text":
            return False
    return True


def _has_tools(message: Message) -> bool:
    return any(block.get("type") in ("tool_use", "tool_result") for block in message.content)


@dataclass(slots=True)
class _Ready:
    """What may be sent behind one prefix, as far as it was made ready."""

    servers: Set[str]
    done: int = 0
    images: int = 0
    messages: list[Block] = field(default_factory=list)
    # The calls of MCP servers that are sent, whose results are then sent too.
    called: set[str] = field(default_factory=set)

    def add(self, message: Message, *, same_prefix: bool, images_left_out: int) -> None:
        self.done += 1
        if _is_text(message):
            # As nearly all are: a process that knows nothing of a conversation has hundreds to look at.
            said = [block for block in message.content if says_something(block)]
            if said:
                self.messages.append({"role": message.role, "content": said})
            return
        pauses = message.stop_reason in PAUSES
        calls = [block for block in message.content if block.get("type") == "mcp_tool_use"]
        # A reply that was cut off may hold a call without its result.
        answered = {block.get("tool_use_id") for block in message.content}
        sent = {
            block["id"]
            for block in calls
            if block["server_name"] in self.servers and (pauses or block["id"] in answered)
        }
        if pauses and len(sent) < len(calls):
            # With a part of it the model could not go on where it stopped.
            return
        self.called |= sent
        content = [block for block in message.content if self._sendable(block, same_prefix)]
        if content:
            shown = self._without_old_images(content, images_left_out)
            self.messages.append({"role": message.role, "content": shown})

    def _without_old_images(self, content: Blocks, left_out: int) -> Blocks:
        before = self.images
        self.images += sum(map(is_image, content))
        if before >= min(left_out, self.images):
            return content
        old = iter(range(left_out - before))
        return [LEFT_OUT if is_image(block) and next(old, None) is not None else block for block in content]

    def _sendable(self, block: Block, same_prefix: bool) -> bool:
        match block.get("type"):
            case "thinking" | "redacted_thinking" | "mcp_tool_listing":
                return same_prefix
            case "mcp_tool_use":
                return block["id"] in self.called
            case "mcp_tool_result":
                return block["tool_use_id"] in self.called
        return says_something(block)


class Memory:
    """The conversations that this process went on with lately. A help to the claim and no more: the claim proves them
    current, or reads them again.

    One that is taken out belongs to the taker, who puts it back when all of it is committed.
    """

    def __init__(self, room: int = 64) -> None:
        self._room = room
        self._kept: OrderedDict[SessionId, tuple[Remembered, Conversation]] = OrderedDict()
        self._sessions: OrderedDict[DeviceId, SessionId] = OrderedDict()
        self._lock = Lock()

    def of_device(self, device_id: DeviceId) -> tuple[Remembered, Conversation] | None:
        with self._lock:
            session_id = self._sessions.get(device_id)
            return None if session_id is None else self._kept.pop(session_id, None)

    def of_session(self, session_id: SessionId) -> tuple[Remembered, Conversation] | None:
        with self._lock:
            return self._kept.pop(session_id, None)

    def put(self, known: Remembered, conversation: Conversation, device_id: DeviceId | None = None) -> None:
        with self._lock:
            self._kept[known.session_id] = (known, conversation)
            if device_id is not None:
                self._sessions[device_id] = known.session_id
            for kept in (self._kept, self._sessions):
                while len(kept) > self._room:
                    kept.popitem(last=False)
