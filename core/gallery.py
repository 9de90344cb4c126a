"""Which images of a conversation the model is still shown: the newest, within what the API takes in one request.

Older ones are left out many at once and not one with each new image, since leaving one out changes what stands before all
that follows, and the prompt cache would be written anew each time. Which they are follows from the messages alone, so
every process sends the same.
"""

from typing import Final

from core.content import Block, Message

# With more in one request the API wants each of them smaller than a phone's photograph is.
MOST_IMAGES: Final = 20
# Of base64, all together; a request may have 32 MB.
MOST_BYTES: Final = 20 * 1024 * 1024
_KEPT_IMAGES: Final = MOST_IMAGES // 2
_KEPT_BYTES: Final = MOST_BYTES // 2

LEFT_OUT: Final[Block] = {"type": "text", "text": "(An image was here. It is too old to be shown again.)"}


class Gallery:
    def __init__(self) -> None:
        # How many images from the beginning on are no longer shown.
        self.left_out = 0
        self._shown: list[int] = []

    def add(self, message: Message) -> None:
        sizes = [len(block["source"]["data"]) for block in message.content if is_image(block)]
        if not sizes:
            return
        self._shown += sizes
        if not self._fits(MOST_IMAGES, MOST_BYTES):
            # Of the message itself, which may be several that were merged, as little as can be.
            self._leave_out(len(self._shown) - len(sizes), _KEPT_IMAGES, _KEPT_BYTES)
            self._leave_out(len(self._shown), MOST_IMAGES, MOST_BYTES)

    def _leave_out(self, at_most: int, images: int, size: int) -> None:
        while at_most and not self._fits(images, size):
            del self._shown[0]
            self.left_out += 1
            at_most -= 1

    def _fits(self, images: int, size: int) -> bool:
        return len(self._shown) <= images and sum(self._shown) <= size


def is_image(block: Block) -> bool:
    return block.get("type") == "image"
