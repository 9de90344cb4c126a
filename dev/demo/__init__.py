"""`make demo`: a day at the clinic, played against the service that `make run` serves, over HTTP alone, as phones would.

    story     what happens, from morning to evening
    looking   what is looked at before it is told
    people    who they are: a device each, and what they can do with it
    telling   what is told of it, by the story's clock
    crash     a second server on the same Postgres, slow to speak, which is killed in the middle of two turns
    calls     the HTTP

The running service is never touched but by its API. What dies is a server that the demo itself has started.
"""
