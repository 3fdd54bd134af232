"""LDAM's choice of the images of CIFAR-LT, from the Mersenne twister up: no NumPy random state is used."""
import random


def _twister(seed):
    """MT19937 seeded by one 32-bit number as Matsumoto's ``init_genrand`` does."""
    state = [seed]
    for i in range(1, 624):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & 0xffffffff)
    generator = random.Random()
    generator.setstate((3, tuple(state) + (624, ), None))
    return lambda: generator.getrandbits(32)


def _at_most(draw, bound):
    """Uniform integer in 0 … bound by masking and rejection."""
    mask = (1 << bound.bit_length()) - 1
    while True:
        value = draw() & mask
        if value <= bound:
            return value


def ldam_subset(labels, counts, seed=0):
    """For each class in label order: Fisher-Yates from the end, then the first images."""
    draw = _twister(seed)
    chosen = []
    for label, count in enumerate(counts):
        members = [index for index, value in enumerate(labels) if value == label]
        for i in range(len(members) - 1, 0, -1):
            j = _at_most(draw, i)
            members[i], members[j] = members[j], members[i]
        chosen += members[:count]
    return chosen
