/* What libsodium's configure would find out, for the files of it that are built. */
#ifdef __SIZEOF_INT128__
#define HAVE_TI_MODE 1
#endif
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define NATIVE_BIG_ENDIAN 1
#else
#define NATIVE_LITTLE_ENDIAN 1
#endif
