"""Reading other proxies' configurations, for people who move from them.

Owns: understanding a foreign configuration, the part of gateway.yaml that means the same, and the
list of everything that has no counterpart, each with its line and the reason. Nothing is dropped in
silence: what was not understood is in the list.

Must not know: the command line, how the gateway serves. The result is checked by whoever writes it.
"""
