"""Who may be which node.

Owns: the decision about a presented secret, before a controller sees anything where the gateway can
judge it.

Must not know: sessions, WebSocket, JNLP4.

    gate, watch      the one gate that agents pass, and the watch over who has passed
    modes, policy    which modes a controller has; what a mode looks like
    *_check          the modes: controller, jenkins_secrets, nodes
    conditions       networks, certificates, times, by rule and by node
    lockout          what follows from wrong secrets
    nodes            records and the interface of the store; node_store, node_rows, node_tables: in
                     SQLite
    issuing          what operators do to nodes; node_exchange, node_import: nodes as JSON
    store_keys       the key file; store_access: the store for a worker's tasks
    jenkins_home     Jenkins' own files
    audit, clock     what is written down; time that does not go back
"""
