"""Compaction: a long conversation goes on behind a short text that stands for its beginning.

A model reads a limited number of tokens, and every message costs what all those before it cost. So before the context is
full the same agent is asked to sum up its older part. What it writes stands for those messages from then on.

What can go wrong, and why it cannot:

* *Something is lost.* The messages stay where they are, and everybody who reads the conversation sees them. A compaction
  lies over them for the model alone. If it is taken back, because the turn that it covers was, they are told again.
* *A pair is torn.* A tool call and its result, or a pause and what came after it, are on the same side of every cut.
* *It knows too much.* It is made of the messages that it stands for and of no others. So nothing of a turn that is taken
  back later is left in a text that stays.
* *Two make one at once, or a sleeper wakes.* It is committed under the epoch, like any step, and only over the state that
  it was made of. It counts `rewrites` up, so whoever remembers the conversation as it was reads it anew.
* *The function dies.* A history that was never compacted is folded piece by piece, each committed on its own: whoever comes
  next goes on behind the last one.
* *No summary is to be had.* Then the turn goes on with the context as it is, and the next one tries again.
"""

from core.content import Message
from core.conversation import PAUSES, Conversation, tokens_of
from core.values import dataclass

# How much of the window the messages that are kept as they are may take.
_KEPT = 5


@dataclass(frozen=True, slots=True)
class Cut:
    """The place of the first message to be kept. What is before it can be summed up in one request."""

    place: int
    # False: there is more to be folded than one request can hold.
    is_last: bool


@dataclass(frozen=True, slots=True)
class Window:
    """How much the model is told before its beginning is folded."""

    tokens: int = 100_000
    messages: int = 200
    # The API takes 32 MB. This is what a function can load, parse and send without being slow.
    size: int = 16_000_000

    def is_over(self, conversation: Conversation) -> bool:
        return (
            conversation.tokens > self.tokens
            or len(conversation) > self.messages
            or conversation.size > self.size
        )

    def half_of(self, conversation: Conversation) -> "Window":
        """For a conversation that does not fit, whatever was estimated."""
        return Window(conversation.tokens // 2, self.messages, conversation.size // 2)

    def cut(self, conversation: Conversation, first_seq: int) -> Cut | None:
        """Where to cut now. None: nothing can be folded. `first_seq`: where the turn begins that is to go on. It stays whole
        if it can.
        """
        messages = conversation.messages
        last = _last_said(messages, first_seq) + 1
        places = [place for place in range(1, last) if _is_whole(messages, place)]
        wanted = self._wanted(messages, first_seq)
        if not places or not wanted:
            return None
        late = [place for place in places if place >= wanted] or places[-1:]
        # Rather before what somebody said than between it and its answer.
        best = next((place for place in late if messages[place].role == "user"), late[0])
        used = conversation.tokens - sum(map(tokens_of, messages))
        place = self._readable(messages, [place for place in places if place <= best], used)
        return Cut(place, is_last=place == best)

    def _wanted(self, messages: list[Message], first_seq: int) -> int:
        """Where the newest messages begin that may be kept; before the turn, unless that is most of the window itself."""
        kept = _begin_of(messages, self.tokens // _KEPT, self.messages // _KEPT, self.size // _KEPT)
        most = _begin_of(messages, self.tokens // 2, self.messages // 2, self.size // 2)
        turn = next(
            (place for place, message in enumerate(messages) if message.seq >= first_seq), len(messages)
        )
        return min(kept, turn) if most <= turn and turn > 0 else kept

    def _readable(self, messages: list[Message], places: list[int], used: int) -> int:
        """The last of the places up to which all fits into one request; the first of them, if none does."""
        best, place, tokens, size = places[0], 0, used, 0
        for wanted in places:
            for message in messages[place:wanted]:
                tokens, size = tokens + tokens_of(message), size + message.stored_size
            if tokens > self.tokens or size > self.size:
                break
            best, place = wanted, wanted
        return best


def _is_whole(messages: list[Message], place: int) -> bool:
    """Nothing before this place is answered or gone on with behind it."""
    return not messages[place].has_results and messages[place - 1].stop_reason not in PAUSES


def _last_said(messages: list[Message], first_seq: int) -> int:
    """The place of the turn's newest reply, which is kept, as the turn may end with it; else of the last message."""
    replies = (
        n for n, message in enumerate(messages) if message.role == "assistant" and message.seq >= first_seq
    )
    return max(replies, default=len(messages) - 1)


def _begin_of(messages: list[Message], tokens: int, count: int, size: int) -> int:
    """Where the newest messages begin that come to no more than this."""
    place = len(messages)
    while place and count > 0:
        message = messages[place - 1]
        tokens, count, size = tokens - tokens_of(message), count - 1, size - message.stored_size
        if tokens < 0 or size < 0:
            break
        place -= 1
    return place
