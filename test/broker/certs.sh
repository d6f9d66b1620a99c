#!/bin/sh
# Makes certificates for tests in DIR:   certs.sh DIR
#   ca.pem          who signs the others
#   server.pem      localhost, 127.0.0.1 and ::1
#   client.pem      for servers that ask for one
#   expired.pem     as server.pem, until yesterday
#   wrong_host.pem  as server.pem, for somewhere else
#   other_ca.pem    has signed nothing; other_client.pem is signed by it nevertheless
# and NAME.key for each.
set -eu
. "$(dirname "$0")/common.sh"
need openssl openssl
cd "$1"

ca() { # ca NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$1 of tests" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$1.key" -out "$1.pem"
}

signed() { # signed NAME CA DAYS ALTERNATIVE-NAMES
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$1" -keyout "$1.key" -out request
  printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "$4" > extensions
  openssl x509 -req -in request -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$3" \
    -extfile extensions -out "$1.pem"
  rm request extensions
}

here='DNS:localhost,IP:127.0.0.1,IP:::1'
{
  ca ca
  ca other_ca
  signed server ca 30 "$here"
  signed client ca 30 DNS:client.invalid
  signed expired ca -1 "$here"
  signed wrong_host ca 30 DNS:elsewhere.invalid
  signed other_client other_ca 30 DNS:client.invalid
} > certs.log 2>&1 || { cat certs.log >&2; exit 1; }
