# The image holds one static binary and runs it as nobody in particular: no
# shell, no package, a root file system that may be read-only. Only /data is
# written, and only by what needs it.
#
#   docker run --read-only -p 8080:8080 -v cacheproxy:/data cacheproxy:VERSION serve --upstream http://...

FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/cacheproxy ./cmd/cacheproxy \
 && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/cacheproxy /cacheproxy
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
WORKDIR /
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/cacheproxy", "healthcheck"]
ENTRYPOINT ["/cacheproxy"]
CMD ["serve"]
