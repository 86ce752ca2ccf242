# The local identity provider: one static program, its entries, and the folder that
# a new volume takes its owner and mode from. scripts/compose gathers what is copied.
FROM scratch
COPY identity /identity
COPY entries.yaml /entries.yaml
COPY --chown=18000:18000 volume/ /
USER 18000:18000
ENTRYPOINT ["/identity"]
CMD ["run", "--entries", "/entries.yaml", "--socket", "/workload-api/identity.sock"]
