"""The bounds of the wire protocol, each with its unit and its reason."""

from typing import Final

MESSAGE_SIZE: Final = 32_768
"""Bytes of one WebSocket message, as in the original server: an OFFER with a full candidate list is below 6 KiB."""

ROOM_ID_LENGTH: Final = 128
"""Characters of a room id: fits a UUID, a host name or a hash, and a log line."""

DISPLAY_NAME_LENGTH: Final = 64
"""Characters of a display name: fits one line of a terminal."""

REQUEST_ID_LENGTH: Final = 128
"""Characters of a request_id, which the server echoes and must not grow its answers."""

TOKEN_LENGTH: Final = 4096
"""Characters of a token that a client shows: a JSON Web Token has about 500, a resume token stays below 2,300."""

PASSWORD_LENGTH: Final = 128
"""Characters of a room's password."""

ROOM_TTL_MAX: Final = 30 * 86_400
"""Seconds for which a room may be told to last: a month."""

PATIENCE_MAX: Final = 86_400
"""Seconds for which an agent may want to keep a silent link: a day."""

SESSION_ID_LENGTH: Final = 128
"""Characters of a session_id: the seed's example uses a UUID (36)."""

PEER_ID_LENGTH: Final = 128
"""Characters of a peer id that a client may name; ours have 16."""

CANDIDATE_LENGTH: Final = 512
"""Characters of one candidate line (RFC 8839 section 5.1); a full IPv6 one has about 150."""

CANDIDATE_COUNT: Final = 32
"""Candidates of one side (RFC 8445 section 19.5.1 lets an agent bound them): 32 x 3 bases stay below its 100 checks."""

SEALED_LENGTH: Final = 24_576
"""Characters of a sealed description: 32 candidates of 512 characters, sealed and in base64, stay below; so does the
message around it below MESSAGE_SIZE."""

LINK_COUNT: Final = 64
"""Links that one agent names in an OFFER: as many as it keeps."""

LINK_PROTOCOL_COUNT: Final = 16
"""Protocols of links that one side names: there is one by now, and old ones go as new ones come."""

LINK_PROTOCOL_LENGTH: Final = 32
"""Characters of the name of one."""

NESTING_DEPTH: Final = 64
"""Levels of nested JSON in a payload: the protocol needs no more than 5, and a receiver's parser must survive it."""

TIMESTAMP_MAX: Final = 2**63 - 1
"""Milliseconds since the epoch, as the original's int64."""
