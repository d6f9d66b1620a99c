#!/bin/sh
# Redis, in the foreground:   DIR=... PORT=... redis.sh KIND [ARGUMENT OF REDIS-SERVER...]
set -eu
here=$(dirname "$0")
. "$here/common.sh"
need redis-server redis-server
kind=$1
shift

plain=$PORT tls=0 host=127.0.0.1
case $kind in
  redis_tls*|redis_mtls)
    plain=0 tls=$PORT clients=optional certificate=server
    case $kind in
      redis_mtls) clients=yes ;;
      redis_tls_expired) certificate=expired ;;
      redis_tls_wrong_host) certificate=wrong_host ;;
    esac
    [ -f "$DIR/ca.pem" ] || sh "$here/certs.sh" "$DIR"
    set -- --tls-cert-file "$DIR/$certificate.pem" --tls-key-file "$DIR/$certificate.key" \
      --tls-ca-cert-file "$DIR/ca.pem" --tls-auth-clients "$clients" "$@"
    url="rediss://localhost:$PORT/0?tls_ca=$DIR/ca.pem"
    [ $kind != redis_mtls ] || url="$url&tls_cert=$DIR/client.pem&tls_key=$DIR/client.key"
    tell URL "$url"
    tell CA "$DIR/ca.pem" ;;
  redis_acl)
    set -- --requirepass secret --user full on '>full-password' '~*' '&*' +@all \
      --user app on '>app-password' '~app:*' '&app:*' +@all -@admin \
      --user mute on '>mute-password' '~*' '&*' +@all -subscribe -psubscribe -ssubscribe "$@"
    tell URL "redis://full:full-password@$host:$PORT/0"
    tell URL_PASSWORD "redis://:secret@$host:$PORT/0"
    tell URL_APP "redis://app:app-password@$host:$PORT/0"
    tell URL_MUTE "redis://mute:mute-password@$host:$PORT/0"
    tell URL_NOBODY "redis://$host:$PORT/0" ;;
  redis_unix)
    plain=0
    tell URL "redis+unix://$DIR/redis.sock" ;;
  redis_aof)
    set -- --appendonly yes --appendfsync no "$@"
    tell URL "redis://$host:$PORT/0" ;;
  redis)
    tell URL "redis://$host:$PORT/0" ;;
  *)
    echo "no such kind: $kind" >&2
    exit 2 ;;
esac
tell SOCKET "$DIR/redis.sock"
# The socket is there in every kind: nobody else's server can answer on it, so whoever answers is ready.
exec redis-server --port "$plain" --tls-port "$tls" --bind "$host" --unixsocket "$DIR/redis.sock" --dir "$DIR" \
  --daemonize no --protected-mode yes --save '' "$@"
