/** The chat page: puts its parts together. */

import { Latchkey } from "./latchkey.js";
import { mountRooms } from "./rooms/rooms.js";
import { by } from "./talk/node.js";
import { personToken } from "./talk/person.js";
import { reach } from "./talk/reach.js";
import { mountTalk } from "./talk/talk.js";

const latchkey = new Latchkey({ baseUrl: location.origin, fetch: reach.fetch, userToken: personToken });
const talk = mountTalk({ latchkey, root: by("talk") });
const { first } = await mountRooms({ latchkey, talk, root: by("rooms"), actions: by("room-actions") });
await talk.show(first);
