"""The fences of agents: who holds a conversation, what is to be done in it, what it may cost, what tools are given."""

from tests.prove.fence import STORE, WRITES, Fence, epoch, gone

STEPS, LOCKS, CLAIMS = "core/store/steps.py", "core/store/locks.py", "core/store/claims.py"
SPENDING, TALLY, BUDGETS = "core/store/spending.py", "core/tally.py", "core/budgets.py"
HOLDING, INWARD, TURN = "core/holding.py", "core/inward.py", "core/turn.py"
HANDOVER, TOOLS, SERVICE = (f"tests/core/test_{name}.py" for name in ("handover", "tools", "session_service"))
MONEY = "tests/core/test_budgets.py"

HANDING_OVER = (
    epoch("relock", STEPS, "_RELOCK: Final"),
    gone("from whom it is taken", STEPS, "_RELOCK: Final", " AND active_agent = :relock_of", HANDOVER),
    gone(
        "the note of a lock that did not move",
        LOCKS,
        "NOTED: Final",
        "FROM held, clock WHERE :relocks",
        STORE,
        "FROM conversation_states held, clock WHERE held.id = :session_id AND :relocks",
    ),
    gone("todos under the epoch", STEPS, "todo AS (", "FROM held, clock,", WRITES, "FROM clock,"),
    gone("todos taken away under the epoch", STEPS, "no_more AS (", "todos t USING held", WRITES, "todos t"),
    gone(
        "todos that are no more", STEPS, "no_more AS (", "t.position > ", HANDOVER, "false AND t.position > "
    ),
    gone(
        "the lock moves with the results",
        HOLDING,
        "    def append_results",
        "follows = consequences or Consequences()",
        HANDOVER,
        "follows = Consequences(None, (consequences or Consequences()).todos)",
    ),
    gone(
        "whoever it was handed over to goes on at once",
        HOLDING,
        "    def append_results",
        "if follows.relock is not None:",
        HANDOVER,
        "if False:",
    ),
    gone(
        "not to and fro for ever",
        INWARD,
        "    def _hand_over",
        "before > self._desk.most_handovers",
        HANDOVER,
        "False",
    ),
    gone(
        "one handover a message", INWARD, "    def _hand_over", "self._handed is not None", HANDOVER, "False"
    ),
    gone(
        "only to those whom it may hand over to",
        "core/agents/builtin.py",
        "def read_hand_over",
        " or to not in agent.hands_over_to",
        HANDOVER,
    ),
    gone(
        "an agent that is missing gives way",
        INWARD,
        "def fall_back",
        "gone is not None and gone not in roster.agents",
        HANDOVER,
        "False",
    ),
    gone(
        "whoever asked for calls sees them through",
        TURN,
        "    def _agent",
        "asked is not None and holding",
        HANDOVER,
        "False and holding",
    ),
    gone(
        "a call that was begun is not said not to have run",
        "core/toolwork.py",
        "def _without_running",
        "if _may_have_run(holding, call) and",
        TOOLS,
        "if False and",
    ),
    *(
        gone(
            f"expired means none, in the {name}",
            file,
            place,
            f"CASE WHEN {row}.locked_at + make_interval(secs => {row}.session_ttl) > at THEN {row}.active_agent END",
            HANDOVER,
            f"{row}.active_agent",
        )
        for name, file, place, row in (
            ("claim", CLAIMS, "_CLAIM_TEXT: Final", "g"),
            ("take", "core/store/takes.py", "_TAKE: Final", "s"),
        )
    ),
    gone(
        "expired means none, for whoever reads it",
        LOCKS,
        "_LIVE: Final",
        "CASE WHEN k.until > clock.at THEN s.active_agent END",
        SERVICE,
        "s.active_agent",
    ),
    gone(
        "the time of a lock that is cleaned up",
        LOCKS,
        "_CLEAN_UP: Final",
        "AND {LOCK_END} <= COALESCE(CAST(:now AS timestamptz), now()) AT TIME ZONE 'UTC'",
        SERVICE,
    ),
    gone(
        "nothing is cleared where there is none",
        LOCKS,
        "def clearing",
        " AND h.active_agent IS NOT NULL",
        SERVICE,
    ),
)

SPENT = (
    epoch("reserve", SPENDING, "_RESERVE: Final"),
    gone(
        "a reservation that is sent again charges nothing",
        SPENDING,
        "_RESERVE: Final",
        "CASE WHEN again THEN 0 ELSE :spent_micros",
        MONEY,
        "CASE WHEN false THEN 0 ELSE :spent_micros",
    ),
    gone(
        "a reservation reads the turn as it is by then",
        SPENDING,
        "_RESERVE: Final",
        "FOR UPDATE OF t",
        MONEY,
    ),
    gone(
        "what a dead function had reserved counts as spent, when reserving",
        SPENDING,
        "_RESERVE: Final",
        "CASE WHEN :inherits THEN reserved_micros ELSE 0 END",
        MONEY,
        "0",
    ),
    gone(
        "what a dead function had reserved counts as spent, when settling",
        SPENDING,
        "SETTLED: Final",
        "CASE WHEN :inherits THEN s.reserved_micros ELSE 0 END",
        MONEY,
        "0",
    ),
    gone(
        "what its own function had reserved does not",
        TALLY,
        "    def charged",
        "self._uncharged, self._inherits = Amount(0, 0), False",
        MONEY,
        "self._uncharged = Amount(0, 0)",
    ),
    gone(
        "what was reserved before is given back, when reserving",
        SPENDING,
        "_RESERVE: Final",
        ":micros - reserved_micros",
        MONEY,
        ":micros",
    ),
    gone(
        "what was reserved is given back to the day",
        SPENDING,
        "SETTLED: Final",
        "reserved_micros = p.reserved_micros - s.reserved_micros",
        MONEY,
        "reserved_micros = p.reserved_micros",
    ),
    gone(
        "what was reserved is taken from the turn",
        SPENDING,
        "GIVEN_BACK: Final",
        "reserved_micros = 0, reserved_tokens = 0",
        MONEY,
        "reserved_micros = reserved_micros, reserved_tokens = reserved_tokens",
    ),
    *(
        gone(
            f"what {name} charged is not charged again", HOLDING, place, "self.tally.charged()", MONEY, "pass"
        )
        for name, place in (
            ("a reservation", "    def reserve"),
            ("a reply", "    def append_reply"),
            ("a summary", "    def compact"),
        )
    ),
    gone(
        "what is spent of the day",
        BUDGETS,
        "    def check_day",
        "if not limits[total.scope].holds(total.amount)",
        MONEY,
        "if False",
    ),
    gone(
        "what is spent of one's own",
        BUDGETS,
        "    def check_own",
        "if not limit.holds(",
        MONEY,
        "if False and (",
    ),
    gone(
        "nothing is granted beyond a budget",
        CLAIMS,
        "def _claim_text",
        '["EXISTS (SELECT FROM spent_up)"]',
        MONEY,
        '["false"]',
    ),
    *(
        gone(
            f"what is left must do for an answer, in {unit}",
            SPENDING,
            "OVER: Final",
            f"GREATEST(b.held_{unit}, :least_{unit} - 1)",
            MONEY,
            f"b.held_{unit}",
        )
        for unit in ("micros", "tokens")
    ),
    gone(
        "nothing is queued beyond a budget",
        CLAIMS,
        "def claim(",
        'row["prior_id"] is None and row["over_budget"]',
        MONEY,
        "False",
    ),
    gone(
        "a retry is not refused beyond a budget",
        CLAIMS,
        "def claim(",
        'row["prior_id"] is None and ',
        MONEY,
    ),
    gone(
        "a day is a day",
        SPENDING,
        "OVER: Final",
        " AND p.day = CAST(at AT TIME ZONE 'UTC' AS date)",
        MONEY,
    ),
)

TOLD = (
    gone(
        "arguments are validated",
        "core/agents/typed.py",
        "    def _fitting",
        "made.call(arguments)",
        "tests/core/test_tool_functions.py",
        "dict(arguments)",
    ),
    gone(
        "a result has a limit",
        "core/tool_results.py",
        "def readable",
        "_cut(text, most_characters) if",
        "tests/core/test_tool_functions.py",
        "text if",
    ),
    gone(
        "where nobody can say whether a person must be asked, one is",
        "core/agents/tool.py",
        "    def asks",
        "return True",
        "tests/core/test_tool_functions.py",
        "return False",
    ),
)

AGENT_FENCES: tuple[Fence, ...] = (*HANDING_OVER, *SPENT, *TOLD)
