"""What the gateway is told: values, models, the YAML file, the checks across keys.

Owns: every configuration key with its default and the reason for it, and the sentences an operator
reads when a key is wrong. ``models`` holds the frozen result, ``load`` makes one from a file.

Must not know: trio, sockets, HTTP, and who uses a value for what. The resolved configuration
travels from supervisor to workers as JSON, so every value here survives
``model_dump(mode="json")`` followed by ``model_validate``.
"""
