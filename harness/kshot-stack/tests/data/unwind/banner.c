/* The banner of another kernel stands before that of this one. */
const char initramfs[] = "Linux version 5.5.5-other (you@there) gcc";
const char linux_banner[] = "Linux version 6.1.192-mine (me@host) gcc";
