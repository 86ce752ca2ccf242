# Nexus: one static program, and the folder that a new volume takes its owner and
# mode from. scripts/compose gathers what is copied.
FROM scratch
COPY nexus /nexus
COPY --chown=18001:18001 volume/ /
USER 18001:18001
ENTRYPOINT ["/nexus"]
