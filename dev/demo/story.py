"""A day at the clinic, from top to bottom. What is told of it is looked at first: where the day goes otherwise, it ends there.

What people say leads the demo model through the clinic's agents and tools by its rules (dev/demo_model/tool_call.py).
"""

from dataclasses import dataclass, field
from uuid import uuid4

from dev.demo.calls import Json, Refused
from dev.demo.crash import LEASE_S, LIFE_S, Second
from dev.demo.looking import WentOtherwise, book, is_as_told, replies, until_it_runs, until_it_speaks
from dev.demo.people import AddressBook, Person, introduce
from dev.demo.telling import Teller

_LINK_S = 86_400


@dataclass(frozen=True, slots=True)
class Left:
    """What a server was in the middle of when it died, and the key that Grace's phone has sent."""

    reply: Json
    reminder: Json
    key: str


@dataclass(slots=True)
class Day:
    url: str
    tell: Teller
    book: AddressBook
    people: dict[str, Person] = field(default_factory=dict)
    # For who comes to look: what it is, and the conversation or the link.
    seen: dict[str, str] = field(default_factory=dict)

    def person(self, name: str) -> Person:
        if name not in self.people:
            self.people[name] = introduce(name, self.url, self.book)
        return self.people[name]

    # ---- morning: the running service alone

    def ada_books(self) -> None:
        ada = self.person("Ada")
        hello = ada.says("Hello, my name is Ada.")
        is_as_told(hello, "completed", agent="manager")
        if "demo model" not in (hello["reply"] or ""):
            raise WentOtherwise(
                "This service does not talk to the demo model, whose answers the story needs; run it without ANTHROPIC_API_KEY."
            )
        self.tell.at("08:55", "Ada, on her phone, says hello. The front desk answers.")
        asked = ada.says("I would like an appointment with a doctor tomorrow")
        is_as_told(asked, "completed", agent="scheduling", calls=["hand_over", "find_free_slots"])
        self.tell.at(
            "09:00",
            "Ada asks for an appointment. The front desk hands her over to Scheduling, which finds free times.",
        )
        booked = book(ada, "Okafor")
        self.tell.at("09:05", f"Ada takes {booked}. It is booked, and its invoice made out.")

    def ben_is_asked(self) -> None:
        ben = self.person("Ben")
        ben.says("Hi, I am Ben. I need an appointment with a doctor tomorrow")
        book(ben, "Lindqvist")
        asked = ben.says("Please pay invoice 1 of 120")
        is_as_told(asked, "waiting", agent="billing")
        self.tell.at(
            "09:20",
            "Ben books too, and wants his invoice of $120 paid. Scheduling hands him over to Billing.",
        )
        self.tell.then("So much money needs his yes. The turn waits, and holds nothing.")
        is_as_told(ben.decides("deny", "I pay at the desk."), "completed", agent="billing")
        self.tell.at("09:24", 'Ben says no: "I pay at the desk." Billing is told why, and nothing is paid.')

    def ada_pays_and_cancels(self) -> None:
        ada = self.person("Ada")
        is_as_told(ada.says("Please pay invoice 1, it is 40 dollars"), "completed", agent="billing")
        self.tell.at("09:40", "Ada pays her $40. That is little, so nobody is asked.")
        second = book(ada, "Okafor", again=True)
        is_as_told(ada.says("Cancel appointment 2"), "waiting", agent="scheduling")
        is_as_told(ada.decides("approve"), "completed", agent="scheduling")
        self.tell.at(
            "09:45",
            f"Ada books {second} as well, and thinks better of it. She is asked, says yes, and it is cancelled.",
        )

    # ---- noon: a second server, which is slow, and dies

    def is_known_to(self, second: Second) -> bool:
        """Whether it has this service's Postgres. In another one nobody may be left behind, who could not be erased from here."""
        ada = self.person("Ada")
        try:
            return bool(ada.elsewhere(second.url).session["id"] == ada.session["id"])
        except Refused:
            return False

    def chloe_is_quick(self, second: Second) -> None:
        chloe = self.person("Chloe")
        is_as_told(chloe.says("Hello, my name is Chloe."), "completed")
        there = chloe.elsewhere(second.url)
        first = there.sends("Are you open on Sunday?")
        # Until then the next message could find the first one free, and the running service answer it at once.
        until_it_speaks(there, first)
        more = [
            chloe.sends("Where can I leave my bicycle?", on_busy="merge"),
            chloe.sends("And is there a lift?", on_busy="merge"),
        ]
        self.tell.at(
            "10:10",
            "Chloe asks something, and two things more while she is being answered. Those are put together.",
        )
        is_as_told(chloe.until_over(first), "completed")
        answers = [chloe.until_over(turn)["reply"] for turn in more]
        if answers[0] != answers[1] or replies(chloe) != 3:
            raise WentOtherwise("Chloe's last two messages were to be answered once, and were not.")
        self.tell.at("10:11", "Chloe has her two answers to three messages.")

    def hugo_reaches(self, second: Second) -> Json:
        hugo = self.person("Hugo")
        hugo.says("I would like an appointment with a doctor tomorrow")
        book(hugo, "Okafor")
        there = hugo.elsewhere(second.url)
        turn = there.sends("Send me a reminder for appointment 1")
        until_it_runs(there, turn, "send_reminder")
        self.tell.at(
            "11:00",
            "Hugo books, and wants a reminder. By chance he reaches another server, on the same Postgres.",
        )
        self.tell.then(
            "The tool may run once, and never twice. It has begun, and the post office takes its time."
        )
        return turn

    def david_stops(self, second: Second) -> None:
        david = self.person("David")
        # Begun there, it lives as that server has it.
        turn = david.elsewhere(second.url).sends("Hello, I am David. Tell me everything that you know")
        until_it_speaks(david.elsewhere(second.url), turn)
        david.calls.post(f"/v1/turns/{turn['id']}/cancel", {})
        is_as_told(david.until_over(turn), "cancelled")
        self.tell.at(
            "11:01",
            "David is told more than he wanted, and presses stop. The server that speaks to him hears of it.",
        )
        self.tell.then(
            f"He puts his phone away. His conversation is gone {LIFE_S} seconds later, and swept up."
        )

    def grace_reaches(self, second: Second, key: str) -> Json:
        grace = self.person("Grace")
        is_as_told(grace.says("Hello, my name is Grace."), "completed")
        turn = grace.elsewhere(second.url).sends("What is my name?", key=key)
        until_it_speaks(grace.elsewhere(second.url), turn)
        self.tell.at(
            "11:02",
            "Grace asks for her name. She reaches that server too, and reads the first words of the reply.",
        )
        return turn

    def the_second_dies(self, second: Second) -> Left:
        reminder = self.hugo_reaches(second)
        self.david_stops(second)
        key = str(uuid4())
        reply = self.grace_reaches(second, key)
        second.kill()
        self.tell.at(
            "11:03",
            "That server is killed with SIGKILL, in the middle of Hugo's reminder and of Grace's reply.",
        )
        self.tell.then(
            f"Nobody has lost anything: its leases run out within {LEASE_S} seconds. Then the running service finds what it left."
        )
        return Left(reply, reminder, key)

    # ---- meanwhile, on the running service

    def ada_shares(self) -> None:
        ada, edda = self.person("Ada"), self.person("Edda")
        session = ada.session
        ada.calls.ask("PATCH", "/v1/session", {"metadata": {"title": "My appointment"}})
        asked = {"role": "viewer", "ttl_s": _LINK_S}
        link = ada.calls.post(f"/v1/sessions/{session['id']}/links", asked)["link"]
        joined = edda.calls.post("/v1/links/join", {"link": link})
        try:
            edda.says("Book me in as well", session_id=joined["id"])
        except Refused as refused:
            if refused.code != "role_too_small":
                raise
        else:
            raise WentOtherwise("Edda only reads along, and was let speak.")
        self.seen["link"], self.seen["Ada"] = link, session["id"]
        self.tell.at(
            "11:04", 'Ada calls her conversation "My appointment", and sends her daughter Edda a link to it.'
        )
        self.tell.then("Edda reads along on her own phone; when she writes, she is refused.")

    def ada_tries_another_way(self) -> None:
        ada = self.person("Ada")
        session, said = ada.session, ada.messages()
        # Behind the turn in which she asked for times.
        at = max(one["seq"] for one in said if one["turn_id"] == said[2]["turn_id"])
        fork = ada.calls.post(
            f"/v1/sessions/{session['id']}/fork",
            {"at": at, "metadata": {"title": "If another day is better"}},
        )
        turn = ada.says("Which appointment times are free today?", session_id=fork["id"])
        is_as_told(turn, "completed", agent="scheduling")
        ada.calls.ask("PUT", "/v1/session", {"session_id": session["id"]})
        self.tell.at(
            "11:05",
            "Ada tries another day in a fork, from before she booked. What she has booked stays as it is.",
        )

    # ---- afternoon: what came of the crash

    def grace_goes_on(self, turn: Json, key: str) -> None:
        grace = self.person("Grace")
        over = grace.until_over(turn)
        is_as_told(over, "completed")
        again = grace.until_over(grace.sends("What is my name?", key=key))
        if "Your name is Grace" not in over["reply"] or again["id"] != over["id"] or replies(grace) != 2:
            raise WentOtherwise("Grace was to have one reply, and her name in it.")
        self.seen["Grace"] = grace.session["id"]
        self.tell.at(
            "11:07", "Grace's turn was recovered: the running service went on with it, and she has one reply."
        )
        self.tell.then(
            "Her phone, which knows of nothing, sends the message again with the same key: the same turn, and no second reply."
        )

    def hugo_knows(self, turn: Json) -> None:
        hugo = self.person("Hugo")
        over = hugo.until_over(turn)
        is_as_told(over, "completed")
        asked = hugo.asked()
        if asked["kind"] != "outcome" or over["tool_calls"][-1]["status"] != "unknown":
            raise WentOtherwise("Nobody was to know what came of Hugo's reminder.")
        self.seen["Hugo"] = hugo.session["id"]
        self.tell.at(
            "11:08",
            "Hugo's turn was recovered as well. Nobody knows whether his reminder went out, so it is not sent again,",
        )
        hugo.decides("happened")
        self.tell.then(
            "and Hugo is asked. His phone buzzes with it: it happened, he says, and the agent is told."
        )

    def ada_wants_it_back(self) -> None:
        ada = self.person("Ada")
        is_as_told(ada.says("I want a refund of invoice 1"), "waiting", agent="billing")
        self.tell.at(
            "16:30",
            "Ada wants her $40 back. Billing asks for her yes, and there it stands when the clinic closes.",
        )
