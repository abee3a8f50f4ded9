/* Stacks to unwind: a leaf without a frame, a recursion, a caller with much on its stack, and where it begins. */
long leaf(long x) { return x * 3; }
__attribute__((noinline)) long recursing(long x) { return x ? recursing(x - 1) + leaf(x) * x : 0; }
__attribute__((noinline)) long middle(long x) { volatile long on_stack[8]; on_stack[x & 7] = x; return recursing(on_stack[1]) + 1; }
long start_kernel(long x) { return middle(x) + middle(x + 1); }
