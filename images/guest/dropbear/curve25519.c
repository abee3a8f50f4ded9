/*
 * dropbear's Curve25519 and Ed25519 by libsodium, in place of its own, which is TweetNaCl: with that, 63 of the 65
 * million instructions of a login are theirs (callgrind, on x86-64).
 */
#include "includes.h"
#include "curve25519.h"
#include "dbrandom.h"
#include "dbutil.h"

#include <sodium.h>

void dropbear_curve25519_scalarmult(unsigned char *q, const unsigned char *n, const unsigned char *p)
{
	/* It gives nothing for a point of small order. dropbear refuses a secret of zeros. */
	if (crypto_scalarmult_curve25519(q, n, p) != 0)
		memset(q, 0, crypto_scalarmult_curve25519_BYTES);
}

void dropbear_ed25519_make_key(unsigned char *pk, unsigned char *sk)
{
	unsigned char both[crypto_sign_ed25519_SECRETKEYBYTES];

	genrandom(sk, crypto_sign_ed25519_SEEDBYTES);
	crypto_sign_ed25519_seed_keypair(pk, both, sk);
	m_burn(both, sizeof both);
}

void dropbear_ed25519_sign(const unsigned char *m, unsigned long mlen, unsigned char *s, unsigned long *slen,
			   const unsigned char *sk, const unsigned char *pk)
{
	/* libsodium's secret key is the seed and the public key. */
	unsigned char both[crypto_sign_ed25519_SECRETKEYBYTES];

	memcpy(both, sk, crypto_sign_ed25519_SEEDBYTES);
	memcpy(both + crypto_sign_ed25519_SEEDBYTES, pk, crypto_sign_ed25519_PUBLICKEYBYTES);
	crypto_sign_ed25519_detached(s, NULL, m, mlen, both);
	*slen = crypto_sign_ed25519_BYTES;
	m_burn(both, sizeof both);
}

/* The two that the files of libsodium which are built take from others. */
void randombytes_buf(void *buffer, const size_t size)
{
	genrandom(buffer, size);
}

void sodium_misuse(void)
{
	dropbear_exit("libsodium was misused");
}

int dropbear_ed25519_verify(const unsigned char *m, unsigned long mlen, const unsigned char *s, unsigned long slen,
			    const unsigned char *pk)
{
	if (slen != crypto_sign_ed25519_BYTES)
		return -1;
	return crypto_sign_ed25519_verify_detached(s, m, mlen, pk);
}
