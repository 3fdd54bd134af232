"""CMO by loops over pixels, from its definition: inside of the rectangle the foreground replaces the background."""


def pasted(background, foreground, top, left, bottom, right):
    """Nested lists of a mixed image ``(3, H, W)``, and the share of its pixels that are the foreground's."""
    channels, height, width = len(background), len(background[0]), len(background[0][0])
    mixed, taken = [], 0
    for channel in range(channels):
        plane = []
        for row in range(height):
            line = []
            for column in range(width):
                inside = top <= row < bottom and left <= column < right
                taken += inside
                line.append((foreground if inside else background)[channel][row][column])
            plane.append(line)
        mixed.append(plane)
    return mixed, taken / (channels * height * width)


def soft_label(background, foreground, share, classes):
    """``share`` of the foreground's class, the rest of the background's."""
    return [(1 - share) * (background == label) + share * (foreground == label) for label in range(classes)]


def class_shares(counts, power):
    """Probability of each class if each image is drawn in proportion to n ** -power, n the images of its class."""
    weights = [sum(n ** -power for _ in range(n)) for n in counts]
    return [weight / sum(weights) for weight in weights]
