/* dropbear's localoptions.h: a server for one key, nothing else. */
#define DROPBEAR_SVR_PASSWORD_AUTH 0
#define DROPBEAR_SVR_PAM_AUTH 0
/* 2022.83 does not compile without it; no such key is ever loaded. */
#define DROPBEAR_RSA 1
#define DROPBEAR_DSS 0
#define DROPBEAR_ECDSA 0
#define DROPBEAR_SK_KEYS 0
#define DROPBEAR_ECDH 0
#define DROPBEAR_DH_GROUP14_SHA1 0
#define DROPBEAR_DH_GROUP14_SHA256 0
#define DROPBEAR_CURVE25519 1
#define DROPBEAR_ED25519 1
#define DROPBEAR_SHA1_HMAC 0
#define DROPBEAR_X11FWD 0
#define DROPBEAR_SVR_AGENTFWD 0
#define DROPBEAR_SVR_LOCALTCPFWD 0
#define DROPBEAR_SVR_REMOTETCPFWD 0
#define DO_MOTD 0
#define INETD_MODE 0
/* SHA-256 and the ciphers unrolled. */
#define DROPBEAR_SMALL_CODE 0
