"""The hand-written part of the built-in conversations: (wordings of one question, the answer)."""

WORDS = (
    "apple arrow autumn baker banana basket beach berry bird blanket boat bottle branch bread bridge brother bucket "
    "butter button cabin camel candle carpet castle cat cave chair cheese cherry circle city cloud coat coffee copper "
    "corner cotton cousin cup curtain daughter desert dinner doctor dog door dragon dream drum duck eagle ear earth "
    "egg elbow engine evening eye family farm feather fence field finger fire fish flag flower forest fork fox friend "
    "frog garden gate glass glove goat gold goose grain grape grass guitar hammer hand harbor hat heart hill honey "
    "horse hotel house hunter island jacket jewel jungle kettle key king kitchen kitten knee ladder lake lamp leaf "
    "lemon letter lettuce library lion lizard machine magnet map market meadow melon metal milk mirror money monkey "
    "moon morning mother mountain mouse muffin music napkin needle nest night north nose notebook number oak ocean "
    "olive onion orange orchard oven owl paint palace paper parrot pear pebble pencil pepper piano picture pillow "
    "pilot pine planet plate pocket poem potato pumpkin puppy queen rabbit radio rain ribbon rice ring river road "
    "robin rocket roof rope rose saddle salad salt sand school season seed shadow sheep shell ship shirt shoe silver "
    "sister snow soap sock song soup spider spoon spring square squirrel stair star station stone storm strawberry "
    "street sugar summer sun table tailor tea teacher temple tent thunder ticket tiger tomato tower train tree "
    "trumpet tulip tunnel turtle umbrella valley velvet village violin wagon wall walnut water whale wheat wheel "
    "window winter wolf wood wool yellow zebra"
)  # separated by blanks

IDENTITY = (
    (
        ("Who are you?", "What are you?", "Tell me who you are.", "Introduce yourself.", "What is this?"),
        "I am a small language model that was trained with nanosolo on a single machine.",
    ),
    (
        ("What is your name?", "What are you called?", "Do you have a name?", "How should I call you?"),
        "I am a nanosolo model. You may call me nanosolo.",
    ),
    (
        ("Who made you?", "Who trained you?", "Who built you?", "Where do you come from?"),
        "I was trained by the person who runs this copy of nanosolo.",
    ),
    (
        ("What is nanosolo?", "Tell me about nanosolo.", "What does nanosolo do?"),
        "nanosolo plans, trains and watches small language models on one GPU.",
    ),
    (
        ("Are you a human?", "Are you a person?", "Are you real?", "Are you alive?"),
        "No. I am a program: a small language model.",
    ),
    (
        ("What can you do?", "How can you help me?", "What are you good at?", "What do you know?"),
        "I can answer short questions, spell words and do small sums with a calculator. I am often wrong.",
    ),
    (
        ("Are you always right?", "Can I trust you?", "Do you make mistakes?"),
        "No, I am small and make mistakes. Please check what I say.",
    ),
    (
        ("How large are you?", "How big are you?", "How many parameters do you have?"),
        "I am small: my size follows from my depth, and one GPU trains me.",
    ),
    (
        ("What were you trained on?", "What did you learn from?", "What data did you see?"),
        "I first read plain text, and then short conversations like this one.",
    ),
    (
        ("Do you remember me?", "Do you remember our last talk?", "Can you remember things?"),
        "No. I only see the words of this conversation.",
    ),
    (
        ("Can you see the internet?", "Can you search the web?", "What is in the news?"),
        "No. I have no network and know no news.",
    ),
    (
        ("What time is it?", "What day is it today?", "What is the date?"),
        "I cannot know that. I have no clock.",
    ),
)

SMALL_TALK = (
    (("Hello!", "Hello", "Hi", "Hi there!", "Hey", "Good morning!", "Good evening"), "Hello! How can I help you?"),
    (("How are you?", "How do you do?", "Are you well?"), "I am ready. What would you like to know?"),
    (("Thank you!", "Thanks", "Thanks a lot", "Many thanks!"), "You are welcome."),
    (("Goodbye", "Bye!", "See you later", "Good night"), "Goodbye! Come back with more questions."),
    (("Tell me a joke.", "Do you know a joke?", "Make me laugh."), "Why did the loop end? It met its break."),
    (("You are wrong.", "That is not right.", "No, that is false."), "I am sorry. I am small and make mistakes."),
    (("Help", "Help me", "I need help"), "Ask me a short question and I will try."),
    (("Yes", "Okay", "Good", "Fine"), "Good. What comes next?"),
    (("Say something.", "Talk to me.", "Tell me something."), "Every token I write depends on all those before it."),
)

PYTHON = (
    (("What is a list in Python?", "Explain lists."), "A list holds items in order, and it can be changed."),
    (("What is a tuple?", "Explain tuples in Python."), "A tuple holds items in order, and it cannot be changed."),
    (("What is a dictionary?", "What does a dict do?"), "A dictionary maps keys to values."),
    (("What is a set in Python?", "Explain sets."), "A set holds different items without order."),
    (("What is a string?", "Explain strings in Python."), "A string is a sequence of characters."),
    (("What is an integer?", "Explain int in Python."), "An integer is a whole number, of any size."),
    (("What is a float?", "Explain float in Python."), "A float is a number with a fraction, kept in 64 bits."),
    (("What is None?", "What does None mean in Python?"), "None stands for no value."),
    (("What is a function?", "Explain functions."), "A function takes arguments, runs its body and returns a value."),
    (("What does return do?", "Explain the return statement."), "It ends the function and gives back a value."),
    (("What does def do?", "How do I define a function?"), "def names a function: def add(a, b): return a + b"),
    (("What is a class?", "Explain classes in Python."), "A class describes objects: their data and their methods."),
    (("What is a method?", "Explain methods in Python."), "A method is a function that belongs to an object."),
    (("What is self?", "What does self mean in Python?"), "self is the object that a method was called on."),
    (("What is a module?", "Explain modules in Python."), "A module is a file of Python code that can be imported."),
    (("What does import do?", "How do I use a module?"), "import loads a module so that you can use its names."),
    (("What is a loop?", "Explain loops."), "A loop runs the same code again and again."),
    (("What does for do?", "Explain the for loop."), "for runs its body once for each item."),
    (("What does while do?", "Explain the while loop."), "while runs its body as long as its condition is true."),
    (("What does break do?", "How do I leave a loop?"), "break ends the loop at once."),
    (("What does continue do?", "How do I skip to the next item?"), "continue begins the next turn of the loop."),
    (("What does if do?", "How do I test a condition?"), "if runs its body only when the condition is true."),
    (("What does else do?", "Explain else."), "else runs when the condition was false."),
    (("What does pass do?", "Explain pass in Python."), "pass does nothing; it fills an empty body."),
    (("What is an exception?", "Explain exceptions."), "An exception tells of an error and ends the normal flow."),
    (("What does try do?", "How do I catch an error?"), "try runs code, and except handles its errors."),
    (("What does raise do?", "How do I raise an error?"), "raise starts an exception: raise ValueError(text)"),
    (("What does finally do?", "Explain finally."), "finally runs its body whether an error came or not."),
    (("What does with do?", "How do I close a file safely?"), "with opens something and closes it at the end."),
    (("What does len do?", "How long is a list?"), "len gives the number of items."),
    (("What does print do?", "How do I show a value?"), "print writes its arguments to the screen."),
    (("What does range do?", "How do I count to ten in a loop?"), "range gives the numbers up to a limit."),
    (("What does sum do?", "How do I add up a list?"), "sum adds all items: sum([1, 2, 3]) is 6."),
    (("What does max do?", "How do I find the largest item?"), "max gives the largest item."),
    (("What does min do?", "How do I find the smallest item?"), "min gives the smallest item."),
    (("What does sorted do?", "How do I sort a list?"), "sorted gives a new list in order."),
    (("What does append do?", "How do I add an item to a list?"), "append adds one item at the end of a list."),
    (("What does split do?", "How do I split a text?"), "split cuts a string into a list of words."),
    (("What does join do?", "How do I join words?"), "join puts strings together: ' '.join(words)"),
    (("What does open do?", "How do I read a file?"), "open gives a file object; its read method gives the text."),
    (("What does yield do?", "What is a generator?"), "yield gives one value at a time and waits for the next call."),
    (("What is a lambda?", "Explain lambda."), "A lambda is a small function without a name."),
    (("What is recursion?", "Explain recursion."), "Recursion is a function that calls itself."),
    (("What does in do?", "How do I test whether a list has an item?"), "in tests whether an item is there."),
    (("What does == do?", "How do I compare two values?"), "== tests whether two values are equal."),
    (("What does is do?", "How does is differ from ==?"), "is tests whether both are the same object."),
    (("What does not do?", "How do I negate a condition?"), "not turns true into false and false into true."),
    (("What does % do?", "How do I get a remainder?"), "% gives the remainder: 7 % 3 is 1."),
    (("What does // do?", "How do I divide without a fraction?"), "// divides and drops the fraction: 7 // 2 is 3."),
    (("What does ** do?", "How do I compute a power?"), "** raises to a power: 2 ** 3 is 8."),
    (("What is a comment?", "How do I write a comment?"), "A comment begins with # and is not run."),
    (("What is a decorator?", "Explain decorators."), "A decorator wraps a function to change what it does."),
    (("What is an iterator?", "Explain iterators."), "An iterator gives its items one by one with next."),
    (("What is a byte?", "Explain bytes in Python."), "A byte is a number from 0 to 255."),
    (("What does isinstance do?", "How do I test a type?"), "isinstance tests whether an object is of a type."),
    (("What is indentation?", "Why are there blanks before a line?"), "Indentation shows which lines belong together."),
)

MACHINE = (
    (("What is a token?", "Explain tokens."), "A token is a piece of text that has a number of its own."),
    (("What is a language model?", "Explain language models."), "It is a program that predicts the next token."),
    (("What is training?", "How did you learn?"), "Training changes the weights until the next token is likelier."),
    (("What is a loss?", "Explain the loss."), "The loss says how surprised a model is by the right token."),
    (("What is a gradient?", "Explain gradients."), "A gradient says how the loss changes with each weight."),
    (("What is a learning rate?", "Explain the learning rate."), "It says how far each step moves the weights."),
    (("What is a batch?", "Explain batches."), "A batch is the set of examples that one step learns from."),
    (("What is a checkpoint?", "Explain checkpoints."), "A checkpoint is a copy of the weights to go on from."),
    (("What is a GPU?", "Explain GPUs."), "A GPU is a chip that multiplies large matrices fast."),
    (("What is attention?", "Explain attention."), "Attention lets each token look at the tokens before it."),
    (("What is a parameter?", "Explain parameters."), "A parameter is a number that training sets."),
    (("What is a tokenizer?", "Explain tokenizers."), "A tokenizer turns text into tokens and back."),
)

# Training data: a changed word moves conversations between the splits, and so changes what existing runs train on.
NONSENSE_THINGS = (
    "the number seven", "a Tuesday", "the square root of soup", "an empty list", "the colour of noise",
    "a triangle with two sides", "the north of a circle", "yesterday's tomorrow", "a loud silence",
    "the letter between",
)  # fmt: skip
NONSENSE_QUESTIONS = (
    "How heavy is {thing}?", "What does {thing} eat?", "Where does {thing} sleep?", "How do I paint {thing}?",
    "Why is {thing} angry?", "What is the price of {thing}?",
)  # fmt: skip
NONSENSE_ANSWER = "That question makes no sense to me. Please ask another way."

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
OPPOSITES = (
    "hot cold", "big small", "up down", "left right", "open closed", "fast slow", "day night", "light dark", "high low",
    "hard soft", "wet dry", "old new", "true false", "first last", "begin end", "near far", "full empty", "rich poor",
    "early late", "loud quiet", "strong weak", "thick thin", "push pull", "inside outside", "before after",
)  # fmt: skip
