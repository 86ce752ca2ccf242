# Pilot: one static program, and two folders that new volumes take their owners and
# modes from: backups are the superuser's, recovery shards the role recover's. Which
# role it has is the user that it is run as; the one here has no identity.
FROM scratch
COPY spike /spike
COPY --chown=18021:18021 superuser/ /
COPY --chown=18022:18022 recover/ /
USER 65534:65534
ENTRYPOINT ["/spike"]
